"""Half-precision graphs: consistent types, and float32 only where half precision would lose a number."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from export.precision import rules
from export.precision.emulate import emulate
from export.precision.half import HALVES, ToHalf
from export.process.errors import ExportError
from tests.export.precision.hand_made import graph, masked_softmax, node, normalise, rms_norm, run
from tests.export.precision.typing_rules import type_errors

HALF = pytest.mark.parametrize("half", HALVES.values(), ids=list(HALVES))
LARGE = np.array([[[300, -400, 0.5, 1], [0, 0, 0, 0]]], np.float32)
SENSITIVE: dict[str, Callable[[], ir.Model]] = {
    "a unit length with an epsilon of 1e-12": normalise,
    "a chain of squares": rms_norm,
    "a mask of finfo.min": masked_softmax,
}


def halved(model: ir.Model, half: ir.DataType) -> tuple[onnx.ModelProto, dict[str, int]]:
    rewrite = ToHalf(half)
    rewrite(model)
    return ir.to_proto(model), rewrite.kept


def casts(model: onnx.ModelProto) -> int:
    return sum(each.op_type == "Cast" for each in model.graph.node)


@HALF
@pytest.mark.parametrize("name", SENSITIVE)
def test_nodes_that_exceed_the_range_of_half_stay_float32(name: str, half: ir.DataType) -> None:
    model = SENSITIVE[name]()
    expected = run(model, LARGE)
    typed, kept = halved(model, half)
    onnx.checker.check_model(typed, full_check=True)
    assert type_errors(typed) == []
    assert kept
    np.testing.assert_allclose(run(emulate(model), LARGE), expected, rtol=2 ** (-9 if half == HALVES["fp16"] else -6))


@pytest.mark.parametrize("name", SENSITIVE)
def test_the_same_graph_entirely_in_float16_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.precision.half.plan", lambda *_: rules.Plan())
    model = SENSITIVE[name]()
    expected = run(model, LARGE)
    with np.errstate(over="ignore"):
        typed, kept = halved(model, ir.DataType.FLOAT16)
    assert (kept, type_errors(typed)) == ({}, [])
    assert not np.allclose(run(emulate(model), LARGE), expected, rtol=0.1)


@HALF
def test_only_the_sensitive_nodes_stay(half: ir.DataType) -> None:
    typed, kept = halved(masked_softmax(), half)
    kinds = {value.name: value.type.tensor_type.elem_type for value in typed.graph.value_info}
    assert kept == {"Add": 1, "Softmax": 1}  # bfloat16 would round finfo.min to minus infinity
    assert kinds["moved"] == onnx.TensorProto.FLOAT  # a Reshape of a float32 value
    assert Counter(tensor.data_type for tensor in typed.graph.initializer if tensor.name != "sizes") == {
        onnx.TensorProto.FLOAT: 1,
        half: 1,
    }


@HALF
def test_a_value_is_cast_once_for_all_its_readers(half: ir.DataType) -> None:
    model = graph(
        [
            node("MatMul", ["image", "weight"], ["a"]),
            node("Exp", ["a"], ["b"]),
            node("Sqrt", ["a"], ["c"]),
            node("Add", ["b", "c"], ["d"]),
            node("MatMul", ["d", "weight"], ["e"]),
            node("Gelu", ["e"], ["logits"]),
        ],
        (4, 4),
        (4, 4),
        weight=np.eye(4, dtype=np.float32),
    )
    typed, kept = halved(model, half)
    assert kept == {"Add": 1, "Exp": 1, "MatMul": 1, "Sqrt": 1}
    assert casts(typed) == 1 + 1 + 1 + 1  # the image; `a` for both its readers; `e`; the logits
    assert sorted(tensor.name for tensor in typed.graph.initializer) == ["weight", "weight_half"]
    produced = {name: each for each in typed.graph.node for name in each.output}
    assert not any(
        each.op_type == produced[each.input[0]].op_type == "Cast"
        for each in typed.graph.node
        if each.input[0] in produced
    )


@HALF
def test_input_and_output_keep_their_names_and_types(half: ir.DataType) -> None:
    model = graph([node("MatMul", ["image", "weight"], ["logits"])], (4,), (4,), weight=np.eye(4, dtype=np.float32))
    typed, kept = halved(model, half)
    for value, name in ((typed.graph.input[0], "image"), (typed.graph.output[0], "logits")):
        assert (value.name, value.type.tensor_type.elem_type) == (name, onnx.TensorProto.FLOAT)
    assert (kept, casts(typed)) == ({}, 2)
    assert typed.graph.initializer[0].data_type == half


def test_the_type_check_finds_a_wrong_type() -> None:
    typed, _ = halved(normalise(), ir.DataType.FLOAT16)
    assert type_errors(typed) == []
    next(each for each in typed.graph.value_info if each.name == "limited").type.tensor_type.elem_type = 10
    assert any("Div limited" in error for error in type_errors(typed))


@pytest.mark.parametrize(
    ("number", "words"),
    [(1e6, ["'heads.weight'", "1e+06", "65504", "bf16"]), (np.nan, ["'heads.weight'", "contains NaN"])],
)
def test_a_weight_that_does_not_fit_is_named(number: float, words: list[str]) -> None:
    weight = np.eye(4, dtype=np.float32) * np.float32(number)
    model = graph([node("MatMul", ["image", "heads.weight"], ["logits"])], (4,), (4,), **{"heads.weight": weight})
    with pytest.raises(ExportError) as raised:
        ToHalf(ir.DataType.FLOAT16)(model)
    assert all(word in str(raised.value) for word in words)


def test_a_subnormal_weight_keeps_its_product_in_float32() -> None:
    weight = np.eye(4, dtype=np.float32) * np.float32(1e-9)  # float16 would make it zero
    model = graph([node("MatMul", ["image", "weight"], ["logits"])], (4,), (4,), weight=weight)
    _, kept = halved(model, ir.DataType.FLOAT16)
    assert kept == {"MatMul": 1}
    assert run(model, np.ones((1, 4), np.float32))[0, 0] == np.float32(1e-9)


@HALF
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "none"])
@pytest.mark.parametrize("operator", ["ScatterElements", "ScatterND"])
def test_scatters_with_a_reduction_stay_float32(operator: str, reduction: str, half: ir.DataType) -> None:
    """ONNX Runtime has no sums of scattered float16 values."""
    if operator == "ScatterElements":
        places = np.array([[0, 2, 2, 3]])
        scatter = node(operator, ["table", "places", "one"], ["filled"], reduction=reduction, axis=1)
    else:
        places = np.array([[[0, 0], [0, 2], [0, 2], [0, 3]]])
        scatter = node(operator, ["table", "places", "one"], ["filled"], reduction=reduction)
    nodes = [
        node("ReduceMax", ["image", "axes"], ["one"], keepdims=1),
        scatter,
        node("Add", ["image", "filled"], ["logits"]),
    ]
    model = graph(nodes, (4,), (4,), table=np.ones((1, 4), np.float32), places=places, axes=np.array([0]))
    _, kept = halved(model, half)
    assert kept.get(operator, 0) == (reduction != "none")
    assert run(emulate(model), np.ones((2, 4), np.float32)).shape == (2, 4)


def test_a_node_with_a_subgraph_is_refused() -> None:
    model = normalise()
    model.graph[0].attributes["body"] = ir.AttrGraph("body", ir.Graph([], [], nodes=[]))
    with pytest.raises(ExportError, match="has a subgraph or is not in the standard"):
        ToHalf(ir.DataType.FLOAT16)(model)
