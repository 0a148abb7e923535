"""Nodes that return their input are removed; similar ones stay."""

import numpy as np
import pytest

from export.passes.remove_no_ops import RemoveNoOps
from tests.export.passes.graphs import Array, graph_of, ints, operators, rewritten

ZERO = np.zeros(1, np.float32)
MASK = np.array([True, False])

# Nodes between the image [2, 3] and the final Neg, with their constants.
REMOVED: dict[str, tuple[str, dict[str, Array]]] = {
    "Cast to the same type": ("a = Cast<to=1>(image)", {}),
    "CastLike of the same type": ("a = CastLike(image, c)", {"c": ZERO}),
    "Concat of one": ("a = Concat<axis=1>(image)", {}),
    "Expand to the same shape": ("a = Expand(image, c)", {"c": ints(2, 3)}),
    "Expand to ones": ("a = Expand(image, c)", {"c": ints(1, 1)}),
    "Pad by zero": ("a = Pad(image, c)", {"c": ints(0, 0, 0, 0)}),
    "Reshape to the same shape": ("a = Reshape(image, c)", {"c": ints(-1, 3)}),
    "Slice of the whole": ("a = Slice(image, b, c)", {"b": ints(0), "c": ints(2)}),
    "Slice of the whole, with steps": ("a = Slice(image, b, c, b, d)", {"b": ints(0), "c": ints(99), "d": ints(1)}),
    "Tile by one": ("a = Tile(image, c)", {"c": ints(1, 1)}),
    "Transpose to the same order": ("a = Transpose<perm=[0, 1]>(image)", {}),
    "Add of zero": ("a = Add(image, c)", {"c": np.zeros((1, 3), np.float32)}),
    "Add to zero": ("a = Add(c, image)", {"c": ZERO}),
    "Sub of zero": ("a = Sub(image, c)", {"c": np.zeros((2, 1), np.float32)}),
    "Mul by one": ("a = Mul(c, image)", {"c": np.ones(3, np.float32)}),
    "Div by one": ("a = Div(image, c)", {"c": np.ones((), np.float32)}),
    "Where that always takes the first": ("a = Where(c, image, z)", {"c": np.array([True, True, True]), "z": ZERO}),
    "Where that always takes the second": ("a = Where(c, z, image)", {"c": np.array(False), "z": ZERO}),
}
KEPT: dict[str, tuple[str, dict[str, Array]]] = {
    "the type changes": ("b = Cast<to=11>(image) \n a = Cast<to=1>(b)", {}),
    "two are joined": ("a = Concat<axis=0>(image, image)", {}),
    "the shape changes": ("a = Reshape(image, c)", {"c": ints(3, 2)}),
    "one becomes several": ("b = ReduceSum<keepdims=1>(image) \n a = Expand(b, c)", {"c": ints(2, 3)}),
    "something is padded": ("a = Pad(image, c)", {"c": ints(0, 0, 0, 1)}),
    "a part is cut off": ("a = Slice(image, b, c)", {"b": ints(1), "c": ints(2)}),
    "a slice is read backwards": ("a = Slice(image, b, c, d, d)", {"b": ints(-1), "c": ints(-9), "d": ints(-1)}),
    "the input is repeated": ("a = Tile(image, c)", {"c": ints(2, 1)}),
    "axes are transposed": ("a = Transpose<perm=[1, 0]>(image)", {}),
    "one number of the bias is not zero": ("a = Add(image, c)", {"c": np.array([0, 0, 1], np.float32)}),
    "the sign changes": ("a = Sub(c, image)", {"c": ZERO}),
    "the input is the divisor": ("a = Div(c, image)", {"c": np.ones(3, np.float32)}),
    "zeros broadcast the sum": (
        "b = ReduceSum<keepdims=1>(image) \n a = Add(b, c)",
        {"c": np.zeros((2, 3), np.float32)},
    ),
    "a table of zeros is added": ("a = Add(image, c)", {"c": np.zeros((2, 3), np.float32)}),
    "it is multiplied by zero": ("a = Mul(image, c)", {"c": ZERO}),
    "it is added to one": ("a = Add(image, c)", {"c": np.ones(1, np.float32)}),
    "the condition is mixed": ("a = Where(c, image, z)", {"c": np.array([True, False, True]), "z": ZERO}),
    "the selected branch is broadcast": ("a = Where(c, z, image)", {"c": np.array([True, True, True]), "z": ZERO}),
}


@pytest.mark.parametrize("case", REMOVED)
def test_a_node_that_returns_its_input_is_removed(case: str) -> None:
    text, constants = REMOVED[case]
    model = graph_of(f"(float[2,3] image) => (float[2,3] logits) {{ {text} \n logits = Neg(a) }}", **constants)
    assert rewritten(RemoveNoOps, model)
    assert operators(model) == ["Neg"]


@pytest.mark.parametrize("case", KEPT)
def test_keep_a_node_when(case: str) -> None:
    text, constants = KEPT[case]
    text = f"{text} \n logits = ReduceSum<keepdims=0>(a)"
    model = graph_of(f"(float[2,3] image) => (float logits) {{ {text} }}", **constants)
    before = operators(model)
    assert not rewritten(RemoveNoOps, model)
    assert operators(model) == before


def test_keep_a_reshape_when_the_batch_is_not_known() -> None:
    text = "(float[batch,3] image) => (float[batch,3] logits) { a = Reshape(image, c) \n logits = Neg(a) }"
    model = graph_of(text, c=ints(-1, 3))
    assert not RemoveNoOps()(model).modified
    assert operators(model) == ["Reshape", "Neg"]


def test_keep_a_slice_when_its_steps_are_not_known() -> None:
    text = """(float[2,3] image, int64[1] steps) => (float[2,3] logits) {
        a = Slice(image, b, c, b, steps)
        logits = Neg(a)
    }"""
    model = graph_of(text, b=ints(0), c=ints(2))
    sliced = next(iter(model.graph)).outputs[0]
    sliced.shape = model.graph.inputs[0].shape  # as an exporter may record it
    assert not RemoveNoOps()(model).modified


def test_keep_a_node_when_it_yields_the_logits() -> None:
    model = graph_of("(float[2,3] image) => (float[2,3] logits) { logits = Reshape(image, c) }", c=ints(2, 3))
    assert not rewritten(RemoveNoOps, model)
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_a_chain_is_removed_in_one_sweep() -> None:
    text = """(float[2,3] image) => (float[2,3] logits) {
        a = Cast<to=1>(image)
        b = Reshape(a, c)
        d = Transpose<perm=[0, 1]>(b)
        logits = Neg(d)
    }"""
    model = graph_of(text, c=ints(2, 3))
    assert rewritten(RemoveNoOps, model)
    assert operators(model) == ["Neg"]
