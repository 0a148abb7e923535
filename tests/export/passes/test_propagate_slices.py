"""A partial read moves before row-wise operators; it stays where one row needs others, or all rows are read."""

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.propagate_slices import PropagateSlices
from export.passes.values import array_of, is_constant, made_from, name_after_sources, sizes_of
from tests.export.passes.graphs import Array, graph_of, ints, operators, run, shapes
from tests.export.passes.reading import FIRST_ROW, PLACES, RANDOM, ROWS, model_of, narrowed, numbers, output_sizes

BATCHES = (1, 2, 3, 7)


# Nodes that compute `a` [B, 6, ..] from `x` [B, 6, 8], the sizes of the logits, and constants.
ROW_BY_ROW: dict[str, tuple[str, str, dict[str, Array]]] = {
    "an activation": ("a = Gelu(x)", "[B,1,8]", {}),
    "a clip": ("a = Clip(x, c)", "[B,1,8]", {"c": np.array(0.1, np.float32)}),
    "a sum with a constant of every row": ("a = Add(x, c)", "[B,1,8]", {"c": numbers(ROWS, 8)}),
    "a difference from a constant for all rows": ("a = Sub(c, x)", "[B,1,8]", {"c": numbers(1, 8)}),
    "a product with a number for each row": ("a = Mul(x, c)", "[B,1,8]", {"c": numbers(1, ROWS, 1)}),
    "a selection": ("a = Where(c, x, d)", "[B,1,8]", {"c": numbers(ROWS, 1) > 0, "d": numbers(8)}),
    "a layer norm": ("a = LayerNormalization(x, c)", "[B,1,8]", {"c": numbers(8)}),
    "a softmax": ("a = Softmax(x)", "[B,1,8]", {}),
    "a mean of each row": ("a = ReduceMean<keepdims=1>(x, last)", "[B,1,1]", {}),
    "a sum of the images": ("b = ReduceSum<keepdims=0>(x, zero) \n a = Unsqueeze(b, zero)", "[1,1,8]", {}),
    "a linear layer": ("a = MatMul(x, c)", "[B,1,5]", {"c": numbers(8, 5)}),
    "products with rows of another tensor": ("b = Transpose<perm=[0,2,1]>(image) \n a = MatMul(x, b)", "[B,1,6]", {}),
    "a stack of products": ("b = Unsqueeze(x, two) \n a = MatMul(b, c)", "[B,1,1,5]", {"c": numbers(ROWS, 8, 5)}),
    "split heads": ("a = Reshape(x, c)", "[B,1,2,4]", {"c": ints(-1, ROWS, 2, 4)}),
    "split and joined heads": (
        "b = Reshape(x, c) \n a = Reshape(b, d)",
        "[B,1,8]",
        {"c": ints(0, ROWS, 2, 4), "d": ints(0, 0, -1)},
    ),
    "transposed heads": (
        "b = Reshape(x, c) \n d = Transpose<perm=[0,2,1,3]>(b) \n e = Tanh(d) \n a = Transpose<perm=[0,2,1,3]>(e)",
        "[B,1,2,4]",
        {"c": ints(-1, ROWS, 2, 4)},
    ),
    "an axis dropped": ("b = Unsqueeze(x, two) \n a = Squeeze(b, two)", "[B,1,8]", {}),
    "another type": ("b = Cast<to=11>(x) \n a = Cast<to=1>(b)", "[B,1,8]", {}),
    "concatenated columns": ("b = Neg(x) \n a = Concat<axis=-1>(x, b)", "[B,1,16]", {}),
    "columns halved": ("b, c = Split<axis=2, num_outputs=2>(x) \n a = Add(c, b)", "[B,1,4]", {}),
    "columns in another order": ("a = Gather<axis=2>(x, c)", "[B,1,2]", {"c": ints(3, 1)}),
    "sliced columns": ("a = Slice(x, two, three, two)", "[B,1,1]", {}),
    "sliced columns and others": (
        "b = Slice(x, two, three, two) \n c = Gather<axis=2>(x, one) \n a = Add(b, c)",
        "[B,1,1]",
        {},
    ),
    "an MLP with a residual connection": (
        "b = LayerNormalization(x, c) \n d = MatMul(b, e) \n f = Relu(d) \n g = MatMul(f, h) \n a = Add(x, g)",
        "[B,1,8]",
        {"c": numbers(8), "e": numbers(8, 9), "h": numbers(9, 8)},
    ),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("case", ROW_BY_ROW)
def test_only_the_row_that_is_read_is_computed_by(case: str, batch: int) -> None:
    nodes, sizes, constants = ROW_BY_ROW[case]
    model = model_of(nodes, sizes, constants, batch=batch)
    assert narrowed(model)
    columns = (
        2 if case == "products with rows of another tensor" else None
    )  # all six rows of the other tensor are needed
    assert all(ROWS not in result[:columns] for result in output_sizes(model) if result != (batch, 8, ROWS))
    assert all(ROWS not in shape for shape in shapes(model).values() if len(shape) > 1)


READINGS = {
    "a Slice": ("s = Slice(a, zero, one, one)", "[2,1,8]", 1),
    "a Slice of the last rows": ("s = Slice(a, c, d, one)", "[2,2,8]", 2),
    "a Gather of one row": ("s = Gather<axis=1>(a, e)", "[2,8]", 1),
    "a Gather counted from the end": ("s = Gather<axis=1>(a, last)", "[2,1,8]", 1),
    "a Gather in another order": ("s = Gather<axis=1>(a, f)", "[2,2,8]", 2),
    "two Gathers": ("s1 = Gather<axis=1>(a, zero) \n s2 = Gather<axis=1>(a, one) \n s = Add(s1, s2)", "[2,1,8]", 2),
    "a Slice and a Gather within it": (
        "s1 = Slice(a, one, three, one) \n s2 = Gather<axis=1>(a, two) \n s = Add(s1, s2)",
        "[2,2,8]",
        2,
    ),
}


@pytest.mark.parametrize("case", READINGS)
def test_the_smallest_range_that_covers_all_reads_is_computed_for(case: str) -> None:
    read, sizes, rows = READINGS[case]
    constants = {"c": ints(-2), "d": ints(99), "e": np.array(4), "f": ints(5, 4), "g": numbers(ROWS, 8)}
    model = model_of("a = Mul(x, g)", sizes, constants, read)
    assert narrowed(model)
    product = next(node for node in model.graph if node.op_type == "Mul")
    assert sizes_of(product.outputs[0]) == (2, rows, 8)
    assert (rows, 8) in shapes(model).values()
    output_sizes(model)


ENDS = {"c": ints(5), "d": ints(7)}
KEPT: dict[str, tuple[str, str, str, dict[str, Array]]] = {
    "another reader needs all rows": (
        "a = Gelu(x) \n all = ReduceSum<keepdims=1>(a, one)",
        "s1 = Slice(a, zero, one, one) \n s = Add(s1, all)",
        "[2,1,8]",
        {},
    ),
    "it is read with steps": ("a = Gelu(x)", "s = Slice(a, zero, three, one, two)", "[2,2,8]", {}),
    "it is read backwards": ("a = Gelu(x)", "s = Slice(a, one, zero, one, last)", "[2,1,8]", {}),
    "more than half is read": ("a = Gelu(x)", "s = Slice(a, two, c, one)", "[2,4,8]", {"c": ints(99)}),
    "both ends are read": ("a = Gelu(x)", "s = Gather<axis=1>(a, c)", "[2,2,8]", {"c": ints(0, -1)}),
    "a softmax runs over rows": ("a = Softmax<axis=1>(x)", FIRST_ROW, "[2,1,8]", {}),
    "rows are normalised together": ("a = LayerNormalization<axis=1>(x, c)", FIRST_ROW, "[2,1,8]", {"c": numbers(8)}),
    "a Reshape mixes rows and columns": ("a = Reshape(x, c)", FIRST_ROW, "[2,1,6]", {"c": ints(2, 8, ROWS)}),
    "rows of all images are one axis": (
        "b = Reshape(x, c) \n d = MatMul(b, e) \n a = Reshape(d, f)",
        FIRST_ROW,
        "[2,1,5]",
        {"c": ints(-1, 8), "e": numbers(8, 5), "f": ints(2, ROWS, 5)},
    ),
    "the shape is computed": (
        "b = Shape(x) \n a = Reshape(x, b)",
        "s0 = Slice(a, zero, one, one) \n s = Slice(s0, zero, one, one)",
        "[2,1,8]",
        {},
    ),
    "every axis of length 1 is dropped": (
        "b = Unsqueeze(x, zero) \n a = Squeeze(b)",
        FIRST_ROW,
        "[2,1,8]",
        {},
    ),
    "rows are summed cumulatively": ("a = CumSum(x, c)", FIRST_ROW, "[2,1,8]", {"c": np.array(1)}),
    "rows are padded": ("a = Pad(x, c)", FIRST_ROW, "[2,1,8]", {"c": ints(0, 1, 0, 0, 0, 0)}),
    "rows of two tensors are joined": (
        "b = Neg(x) \n a = Concat<axis=1>(x, b)",
        "s = Slice(a, c, d, one)",
        "[2,2,8]",
        ENDS,
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_keep_all_rows_when(case: str) -> None:
    nodes, read, sizes, constants = KEPT[case]
    assert not narrowed(model_of(nodes, sizes, constants, read))


def test_keep_all_rows_when_they_are_a_graph_output() -> None:
    text = """(float[2,6,8] image) => (float[2,1,8] logits, float[2,6,8] a) {
        a = Gelu(image)
        s = Slice(a, zero, one, one)
        logits = Neg(s)
    }"""
    assert not narrowed(graph_of(text, **PLACES))


def test_keep_all_rows_when_a_branch_reads_them() -> None:
    text = """(float[2,6,8] image, bool yes) => (float[2,1,8] logits) {
        a = Gelu(image)
        logits = If(yes) <
            then_branch = then() => (float[2,1,8] t) { t = Slice(a, zero, one, one) },
            else_branch = other() => (float[2,1,8] e) { e = Slice(a, zero, one, one) }
        >
    }"""
    model = graph_of(text, **PLACES)
    assert not PropagateSlices()(model).modified
    assert sizes_of(model.graph[0].outputs[0]) == (2, 6, 8)


def test_keep_all_rows_when_a_size_is_not_known() -> None:
    text = "(float[b,6,8] image) => (float[b,1,8] logits) { a = Gelu(image) \n logits = Slice(a, zero, one, one) }"
    model = graph_of(text, **PLACES)
    assert not PropagateSlices()(model).modified
    assert operators(model) == ["Gelu", "Slice"]


def test_keep_all_rows_when_their_number_equals_the_batch_size() -> None:
    constants = {"start": ints(0), "stop": ints(11)}
    text = "(float[11,40,8] image) => (float[11,11,8] logits) { a = Abs(image) \n s = Slice(a, start, stop, one)"
    text += "\n logits = Neg(s) }"
    assert not narrowed(graph_of(text, **PLACES, **constants), batch=11)
    assert narrowed(graph_of(text, **PLACES, **constants), batch=None)


def test_a_slice_that_yields_the_logits_stays_and_reads_every_computed_row() -> None:
    text = "(float[2,6,8] image) => (float[2,1,8] logits) { a = Gelu(image) \n logits = Slice(a, two, three, one) }"
    model = graph_of(text, **PLACES)
    assert narrowed(model)
    assert operators(model) == ["Slice", "Gelu", "Slice"]
    assert output_sizes(model)[1] == (2, 1, 8)


def test_keys_read_all_rows_and_queries_share_one_slice() -> None:
    nodes = """
        n = LayerNormalization(x, c)
        k = MatMul(n, d)
        kt = Transpose<perm=[0,2,1]>(k)
        q = MatMul(n, e)
        scores = MatMul(q, kt)
        biased = Add(scores, bias)
        p = Softmax(biased)
        o = MatMul(p, k)
        a = Add(x, o)
    """
    layers = {"c": numbers(8), "d": numbers(8, 8), "e": numbers(8, 8), "bias": numbers(1, ROWS, ROWS)}
    model = model_of(nodes, "[2,1,8]", layers)
    assert narrowed(model)
    rows = {node.outputs[0].name: sizes for node, sizes in zip(model.graph, output_sizes(model), strict=True)}
    assert {name: rows[name] for name in ("n", "k", "kt")} == {"n": (2, 6, 8), "k": (2, 6, 8), "kt": (2, 8, 6)}
    assert [rows[name] for name in ("q", "scores", "p", "o", "a")] == [(2, 1, n) for n in (8, 6, 6, 8, 8)]
    assert shapes(model)["bias"] == (1, 1, 6)
    assert operators(model).count("Slice") == 2  # of the tokens and of their norm


def test_rows_are_traced_through_a_lookup_in_flattened_rows() -> None:
    """iRPE's bucket lookup: [B, 6, 5] is flattened to [B, 30], gathered in any order and reshaped to [B, 6, 6]."""
    nodes = """
        products = MatMul(x, c)
        flat = Reshape(products, d)
        looked_up = Gather<axis=1>(flat, index)
        a = Reshape(looked_up, e)
    """
    index = (RANDOM.integers(0, 5, (ROWS, ROWS)) + 5 * np.arange(ROWS)[:, None]).reshape(-1)
    constants = {"c": numbers(8, 5), "d": ints(-1, 30), "e": ints(-1, ROWS, ROWS), "index": index}
    for read, start in ((FIRST_ROW, 0), ("s = Slice(a, two, three, one)", 2)):
        model = model_of(nodes, "[2,1,6]", constants, read)
        assert narrowed(model)
        sizes = {node.outputs[0].name: found for node, found in zip(model.graph, output_sizes(model), strict=True)}
        assert (sizes["products"], sizes["looked_up"]) == ((2, 1, 5), (2, 6))
        gather = next(node for node in model.graph if node.op_type == "Gather")
        assert is_constant(gather.inputs[1])
        assert gather.inputs[1] is not None
        assert array_of(gather.inputs[1]).tolist() == (index.reshape(6, 6)[start] - 5 * start).tolist()


def test_a_concat_keeps_only_the_input_that_is_read() -> None:
    nodes = "b = Slice(x, zero, one, one) \n d = Neg(b) \n a0 = Concat<axis=1>(d, x) \n a = LayerNormalization(a0, c)"
    model = model_of(nodes, "[2,1,8]", {"c": numbers(8)})
    assert narrowed(model)
    assert output_sizes(model)[-2:] == [(2, 1, 8), (2, 1, 8)]
    concat = next(node for node in model.graph if node.op_type == "Concat")
    assert [value.name for value in concat.inputs if value is not None] == ["d"]


def test_a_cut_constant_takes_the_name_of_the_whole() -> None:
    model = model_of("a = Add(x, table)", "[2,1,8]", {"table": numbers(ROWS, 8)})
    whole = array_of(model.graph.initializers["table"])
    assert narrowed(model)
    assert array_of(model.graph.initializers["table"]).tolist() == whole[:1].tolist()
    assert made_from(model.graph.initializers["table"]) == ("table",)


def test_a_constant_that_something_else_reads_keeps_its_name() -> None:
    nodes = "b = Add(x, table) \n c = ReduceSum<keepdims=1>(b, one) \n d = Mul(x, table) \n a = Add(d, c)"
    model = model_of(nodes, "[2,1,8]", {"table": numbers(ROWS, 8)})
    assert narrowed(model)
    assert sorted(shapes(model).values())[-2:] == [(1, 8), (ROWS, 8)]
    assert shapes(model)["table"] == (ROWS, 8)


def test_the_comparison_is_able_to_fail() -> None:
    model = model_of("a = Add(x, c)", "[2,1,8]", {"c": numbers(ROWS, 8)})
    before = run(model)
    PropagateSlices()(model)
    name_after_sources(model)
    model.graph.initializers["c"].const_value = ir.tensor(numbers(1, 8))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(run(model), before, rtol=2e-6, atol=2e-6)
