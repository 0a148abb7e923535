"""Tokens before, between or after inputs that depend on the image become Pad and Add; other cases stay a Concat."""

import numpy as np
import pytest

from export.passes.pad_instead_of_concat import PadInsteadOfConcat
from tests.export.passes.graphs import Array, graph_of, operators, rewritten, shapes


def token(*shape: int, images: int = 2, dtype: type = np.float32) -> Array:
    """Return a random constant [images, *shape] that is the same for every image."""
    one: Array = np.random.default_rng(len(shape)).normal(size=(1, *shape)).astype(dtype)
    return np.ascontiguousarray(np.broadcast_to(one, (images, *shape)))


REPLACED = {
    "before": ("Concat<axis=1>(c, image)", [2, 6, 4], ["Pad", "Add"]),
    "after": ("Concat<axis=1>(image, c)", [2, 6, 4], ["Pad", "Add"]),
    "before and after": ("Concat<axis=1>(c, image, d)", [2, 7, 4], ["Pad", "Add"]),
    "two before": ("Concat<axis=1>(c, d, image)", [2, 7, 4], ["Pad", "Add"]),
    "between": ("Concat<axis=1>(image, c, other)", [2, 8, 4], ["Pad", "Concat", "Add"]),
    "between and after": ("Concat<axis=1>(image, c, other, d)", [2, 9, 4], ["Pad", "Concat", "Add"]),
    "before two": ("Concat<axis=1>(c, image, other)", [2, 8, 4], ["Pad", "Concat", "Add"]),
    "counted from the last axis": ("Concat<axis=-2>(c, image)", [2, 6, 4], ["Pad", "Add"]),
}


@pytest.mark.parametrize("case", REPLACED)
def test_constant_tokens_at_any_position_become_pad_and_add(case: str) -> None:
    call, sizes, wanted = REPLACED[case]
    inputs = "float[2,3,4] image, float[2,2,4] other"
    text = f"({inputs}) => (float{sizes} logits) {{ logits = {call} }}"
    model = graph_of(text, c=token(3, 4), d=token(1, 4))
    assert rewritten(PadInsteadOfConcat, model)
    assert operators(model) == wanted
    assert (1, *sizes[1:]) in shapes(model).values()  # stored once for all images
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_concatenated_features_become_pad_and_add() -> None:
    text = "(float[2,3,4] image) => (float[2,3,6] logits) { a = Concat<axis=2>(c, image) \n logits = Neg(a) }"
    model = graph_of(text, c=token(3, 2))
    assert rewritten(PadInsteadOfConcat, model)
    assert operators(model) == ["Pad", "Add", "Neg"]


def test_infinite_constants_become_pad_and_add() -> None:
    constant = token(1, 4).copy()
    constant[:, 0, 1] = -np.inf
    model = graph_of("(float[2,3,4] image) => (float[2,4,4] logits) { logits = Concat<axis=1>(c, image) }", c=constant)
    assert rewritten(PadInsteadOfConcat, model)


def test_keep_concat_when_images_have_different_tokens() -> None:
    constant = token(1, 4).copy()
    constant[1] += 1
    model = graph_of("(float[2,3,4] image) => (float[2,4,4] logits) { logits = Concat<axis=1>(c, image) }", c=constant)
    assert not rewritten(PadInsteadOfConcat, model)


def test_keep_concat_when_one_of_two_constants_differs_by_image() -> None:
    constant = token(1, 4).copy()
    constant[1] += 1
    text = "(float[2,3,4] image) => (float[2,5,4] logits) { logits = Concat<axis=1>(c, image, d) }"
    assert not rewritten(PadInsteadOfConcat, graph_of(text, c=token(1, 4), d=constant))


def test_keep_concat_when_it_joins_images() -> None:
    model = graph_of(
        "(float[2,3,4] image) => (float[4,3,4] logits) { logits = Concat<axis=-3>(c, image) }", c=token(3, 4)
    )
    assert not rewritten(PadInsteadOfConcat, model)


def test_keep_concat_when_no_input_is_constant() -> None:
    model = graph_of("(float[2,3,4] image) => (float[2,6,4] logits) { logits = Concat<axis=1>(image, image) }")
    assert not rewritten(PadInsteadOfConcat, model)


def test_keep_concat_when_every_input_is_constant() -> None:
    text = "(float[2,2,4] image) => (float[2,2,4] logits) { a = Concat<axis=1>(c, c) \n logits = Add(image, a) }"
    assert not rewritten(PadInsteadOfConcat, graph_of(text, c=token(1, 4)))


def test_keep_concat_when_the_numbers_are_integers() -> None:
    text = """(float[2,3] image) => (float[2,5] logits) {
        a = Cast<to=7>(image)
        b = Concat<axis=1>(c, a)
        logits = Cast<to=1>(b)
    }"""
    assert not rewritten(PadInsteadOfConcat, graph_of(text, c=token(2, dtype=np.int64)))


def test_keep_concat_when_sizes_are_not_known() -> None:
    model = graph_of(
        "(float[b,3,4] image) => (float[b,4,4] logits) { logits = Concat<axis=1>(c, image) }", c=token(1, 4, images=1)
    )
    assert not PadInsteadOfConcat()(model).modified
    assert operators(model) == ["Concat"]
