"""Constant folding: nodes that are evaluated, names of the results, and nodes that stay."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from export.passes import clean_up
from export.passes.fold_constants import FoldConstants
from tests.export.passes.graphs import Array, run_on


def model_of(
    nodes: list[onnx.NodeProto], constants: Mapping[str, Array], output: str, shape: list[int | str]
) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


TABLE = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
INDEX = np.random.default_rng(1).integers(0, 3000, size=(100,))
IMAGE = np.ones((2, 4), np.float32)


def test_a_chain_of_constants_becomes_one_constant_however_large() -> None:
    nodes = [
        helper.make_node("Gather", ["attention.table", "index"], ["gathered"]),
        helper.make_node("ReduceSum", ["gathered", "axes"], ["bias"], keepdims=0),
        helper.make_node("Add", ["image", "bias"], ["logits"]),
    ]
    constants: dict[str, Array] = {"attention.table": TABLE, "index": INDEX, "axes": np.array([0])}
    model = model_of(nodes, constants, "logits", ["batch", 4])
    before = run_on(model, IMAGE)
    result = FoldConstants()(model)
    assert result.modified
    assert [node.op_type for node in model.graph] == ["Add"]
    np.testing.assert_array_equal(run_on(model, IMAGE), before)
    np.testing.assert_allclose(before, IMAGE + TABLE[INDEX].sum(axis=0), rtol=1e-5)


def test_a_folded_constant_keeps_the_name_of_its_source() -> None:
    nodes = [
        helper.make_node("Gather", ["attention.table", "index"], ["gathered"]),
        helper.make_node("Reshape", ["gathered", "shape"], ["flat"]),
        helper.make_node("MatMul", ["image", "flat"], ["logits"]),
    ]
    constants: dict[str, Array] = {"attention.table": TABLE, "index": INDEX[:1], "shape": np.array([4, 1])}
    model = model_of(nodes, constants, "logits", ["batch", 1])
    clean_up(model)
    assert list(model.graph.initializers) == ["attention.table"]
    folded = model.graph.initializers["attention.table"].const_value
    assert folded is not None
    np.testing.assert_array_equal(folded.numpy(), TABLE[INDEX[:1]].reshape(4, 1))


def test_a_constant_with_other_readers_keeps_its_name_and_value() -> None:
    nodes = [
        helper.make_node("Neg", ["attention.table"], ["negated"]),
        helper.make_node("Add", ["image", "negated"], ["sum"]),
        helper.make_node("Add", ["sum", "attention.table"], ["logits"]),
    ]
    model = model_of(nodes, {"attention.table": TABLE[:1]}, "logits", ["batch", 4])
    FoldConstants()(model)
    assert [node.op_type for node in model.graph] == ["Add", "Add"]
    np.testing.assert_allclose(run_on(model, IMAGE), IMAGE, atol=1e-6)


def test_a_folded_transpose_is_stored_contiguously() -> None:
    nodes = [
        helper.make_node("Transpose", ["attention.table"], ["transposed"], perm=[1, 0]),
        helper.make_node("MatMul", ["image", "transposed"], ["logits"]),
    ]
    model = model_of(nodes, {"attention.table": TABLE}, "logits", ["batch", 3000])
    before = run_on(model, IMAGE)
    clean_up(model)  # the following passes read the bytes in memory order
    np.testing.assert_array_equal(run_on(model, IMAGE), before)
    assert [node.op_type for node in model.graph] == ["MatMul"]


def test_keep_nodes_that_depend_on_the_image() -> None:
    nodes = [helper.make_node("Neg", ["image"], ["negated"]), helper.make_node("Abs", ["negated"], ["logits"])]
    model = model_of(nodes, {}, "logits", ["batch", 4])
    assert not FoldConstants()(model).modified
    assert [node.op_type for node in model.graph] == ["Neg", "Abs"]


def test_keep_random_nodes_with_a_reason() -> None:
    nodes = [
        helper.make_node("RandomNormal", [], ["noise"], shape=[1, 4]),
        helper.make_node("Add", ["image", "noise"], ["logits"]),
    ]
    model = model_of(nodes, {}, "logits", ["batch", 4])
    fold = FoldConstants()
    assert not fold(model).modified
    assert ["random" in declined.reason for declined in fold.declined] == [True]


def test_keep_an_output_that_does_not_depend_on_the_image_with_a_reason() -> None:
    model = model_of(
        [helper.make_node("Neg", ["attention.table"], ["logits"])], {"attention.table": TABLE}, "logits", [3000, 4]
    )
    fold = FoldConstants()
    assert not fold(model).modified
    assert "does not depend on the image" in fold.declined[0].reason


def test_equal_constants_are_stored_once_and_unused_ones_removed() -> None:
    nodes = [
        helper.make_node("Add", ["image", "first.bias"], ["sum"]),
        helper.make_node("Add", ["sum", "second.bias"], ["logits"]),
    ]
    constants = {"first.bias": TABLE[:1], "second.bias": TABLE[:1].copy(), "unused": TABLE}
    model = model_of(nodes, constants, "logits", ["batch", 4])
    clean_up(model)
    assert len(model.graph.initializers) == 1
    np.testing.assert_allclose(run_on(model, IMAGE), IMAGE + 2 * TABLE[:1], rtol=1e-6)


def test_paths_of_the_exporting_machine_are_removed_from_the_graph() -> None:
    nodes = [helper.make_node("Neg", ["image"], ["logits"])]
    model = model_of(nodes, {}, "logits", ["batch", 4])
    next(iter(model.graph)).metadata_props["pkg.torch.onnx.stack_trace"] = "File /home/someone/models/vit.py"
    clean_up(model)
    assert b"someone" not in ir.to_proto(model).SerializeToString()
