"""Inputs that operators broadcast are not repeated, and inputs that give a result its size are not shrunk."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.operators import BROADCAST
from export.passes.unbroadcast import Unbroadcast, is_uniform
from tests.export.passes.graphs import Array, graph_of, ints, operators, rewritten, shapes

RANDOM = np.random.default_rng(1)


def numbers(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def repeated(part: Array, *shape: int) -> Array:
    return np.ascontiguousarray(np.broadcast_to(part, shape))


def inputs_of_last(model: ir.Model) -> list[str | None]:
    """Return the names of the last node's inputs."""
    return [value.name for value in list(model.graph)[-1].inputs if value is not None]


@pytest.mark.parametrize(
    ("constant", "left"),
    [
        (repeated(numbers(1, 3, 4), 2, 3, 4), (1, 3, 4)),
        (repeated(numbers(2, 1, 4), 2, 3, 4), (2, 1, 4)),
        (repeated(numbers(1, 3, 1), 2, 3, 4), (1, 3, 1)),
        (repeated(numbers(1, 1), 3, 4), (1, 1)),
        (np.zeros((2, 3, 4), np.float32), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("order", ["image, c", "c, image"])
def test_an_axis_along_which_a_constant_is_uniform_gets_size_one(
    constant: Array, left: tuple[int, ...], order: str
) -> None:
    model = graph_of(f"(float[2,3,4] image) => (float[2,3,4] logits) {{ logits = Sub({order}) }}", c=constant)
    assert rewritten(Unbroadcast, model)
    assert list(shapes(model).values()) == [left]


def test_a_constant_that_two_nodes_read_is_shrunk_for_each() -> None:
    text = """(float[2,3] image, float[2,1] other) => (float[2,3] logits) {
        a = Add(image, c)
        b = Mul(other, c)
        logits = Add(a, b)
    }"""
    model = graph_of(text, c=repeated(numbers(1, 3), 2, 3))
    assert rewritten(Unbroadcast, model)
    assert sorted(shapes(model).values()) == [(1, 3), (1, 3)]  # `other` already has the two rows of the product


def test_readers_of_an_expand_read_its_input() -> None:
    text = """(float[2,3,4] image, float[4] mask) => (float[2,3,4] logits) {
        wide = Expand(mask, sizes)
        logits = Add(image, wide)
    }"""
    model = graph_of(text, sizes=ints(2, 3, 4))
    assert rewritten(Unbroadcast, model)
    assert inputs_of_last(model) == ["image", "mask"]


def test_a_product_with_expanded_matrices_reads_the_input_of_the_expand() -> None:
    text = """(float[2,3,4] image, float[1,4,5] keys) => (float[2,3,5] logits) {
        wide = Expand(keys, sizes)
        logits = MatMul(image, wide)
    }"""
    model = graph_of(text, sizes=ints(2, 4, 5))
    assert rewritten(Unbroadcast, model)
    assert inputs_of_last(model) == ["image", "keys"]


def test_keep_an_axis_when_nothing_else_gives_the_result_its_size() -> None:
    model = graph_of(
        "(float[1,3] image) => (float[2,3] logits) { logits = Add(image, c) }", c=repeated(numbers(1, 3), 2, 3)
    )
    assert not rewritten(Unbroadcast, model)
    assert shapes(model) == {"c": (2, 3)}


def test_keep_one_of_two_constants_when_both_are_uniform_along_an_axis() -> None:
    condition = repeated(np.array([[True, False, True]]), 2, 3)
    model = graph_of(
        "(float[1,3] image) => (float[2,3] logits) { logits = Where(c, image, d) }",
        c=condition,
        d=repeated(numbers(1, 3), 2, 3),
    )
    assert rewritten(Unbroadcast, model)
    assert sorted(shapes(model).values()) == [(1, 3), (2, 3)]


def test_keep_the_last_two_axes_of_a_product_even_if_uniform() -> None:
    text = "(float[2,4,4] image) => (float[2,4,4] logits) { logits = MatMul(image, c) }"
    model = graph_of(text, c=np.ones((2, 4, 4), np.float32))
    assert rewritten(Unbroadcast, model)
    assert list(shapes(model).values()) == [(1, 4, 4)]


def test_keep_an_expand_when_a_product_sums_over_it() -> None:
    text = """(float[2,3,4] image, float[1,1,5] row) => (float[2,3,5] logits) {
        wide = Expand(row, sizes)
        logits = MatMul(image, wide)
    }"""
    model = graph_of(text, sizes=ints(2, 4, 5))
    assert not rewritten(Unbroadcast, model)


def test_keep_an_expand_when_it_gives_the_result_its_size() -> None:
    text = """(float[1,3] image, float[3] mask) => (float[2,3] logits) {
        wide = Expand(mask, sizes)
        logits = Add(image, wide)
    }"""
    model = graph_of(text, sizes=ints(2, 3))
    assert not rewritten(Unbroadcast, model)


def test_keep_a_constant_when_one_number_differs() -> None:
    constant = repeated(numbers(1, 3), 2, 3).copy()
    constant[1, 2] += 1e-6
    model = graph_of("(float[2,3] image) => (float[2,3] logits) { logits = Add(image, c) }", c=constant)
    assert not rewritten(Unbroadcast, model)


def test_keep_a_constant_when_sizes_are_not_known() -> None:
    model = graph_of("(float[b,3] image) => (float[b,3] logits) { logits = Add(image, c) }", c=np.ones((1, 3), "f"))
    assert not Unbroadcast()(model).modified


def test_keep_a_constant_when_the_operator_does_not_broadcast() -> None:
    assert "Concat" not in BROADCAST
    model = graph_of(
        "(float[2,3] image) => (float[2,6] logits) { logits = Concat<axis=1>(image, c) }", c=np.ones((2, 3), "f")
    )
    assert not rewritten(Unbroadcast, model)
    assert operators(model) == ["Concat"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_is_uniform_agrees_with_a_loop(axis: int) -> None:
    for sizes in ((1, 3, 2), (2, 1, 2), (2, 3, 1), (1, 1, 1), (2, 3, 2)):
        for array in (repeated(numbers(*sizes), 2, 3, 2), np.broadcast_to(numbers(*sizes), (2, 3, 2))):
            rows = np.moveaxis(array, axis, 0)
            assert is_uniform(array, axis) == all((row == rows[0]).all() for row in rows)


PRODUCTS = {
    "MatMul": ("(float[2,5,3] image) => (float[2,5,4] logits) { y = MatMul(image, w)", (3, 4), 1),
    "Gemm": ("(float[2,3] image) => (float[2,4] logits) { y = Gemm(image, w)", (3, 4), 1),
    "Conv": ("(float[2,3,5,5] image) => (float[2,4,3,3] logits) { y = Conv(image, w)", (4, 3, 3, 3), 3),
}


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("order", ["Add(y, c)", "Add(c, y)", "Sub(y, c)"])
def test_a_uniform_bias_of_a_product_keeps_its_channels(product: str, order: str) -> None:
    text, weights, axes = PRODUCTS[product]
    bias = np.full((4, *[1] * (axes - 1)), 0.5, np.float32)
    model = graph_of(f"{text}\n logits = {order} }}", w=numbers(*weights), c=bias)
    assert not rewritten(Unbroadcast, model)
    assert shapes(model)["c"] == bias.shape


def test_other_uniform_axes_of_a_constant_added_to_a_product_are_shrunk() -> None:
    text = "(float[2,5,3] image) => (float[2,5,4] logits) { y = MatMul(image, w)\n logits = Add(y, c) }"
    model = graph_of(text, w=numbers(3, 4), c=np.full((1, 5, 4), 0.5, np.float32))
    assert rewritten(Unbroadcast, model)
    assert sorted(shapes(model).values()) == [(1, 1, 4), (3, 4)]
    model = graph_of(text, w=numbers(3, 4), c=repeated(numbers(1, 5, 1), 1, 5, 4))
    assert rewritten(Unbroadcast, model)
    assert sorted(shapes(model).values()) == [(1, 5, 1), (3, 4)]


def test_a_uniform_factor_after_a_product_is_one_number() -> None:
    text = "(float[2,5,3] image) => (float[2,5,4] logits) { y = MatMul(image, w)\n logits = Mul(y, c) }"
    model = graph_of(text, w=numbers(3, 4), c=np.full(4, 0.5, np.float32))
    assert rewritten(Unbroadcast, model)
    assert sorted(shapes(model).values()) == [(1,), (3, 4)]
