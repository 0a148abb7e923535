"""Gathers with a matrix of indices, which OpenVINO cannot compile behind a quantized convolution."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from export.passes.values import array_of, input_of
from export.precision.flat_gathers import FlatGathers
from export.precision.lower import Lowering
from export.write.saving import save_graph
from tests.export.precision.hand_made import graph, node, run
from tests.export.precision.int8_networks import NONE, TOKENS, WIDTH, network, random, reference

IMAGE = np.random.default_rng(0).normal(size=(5, 4, 6, 6)).astype(np.float32)
BLOCKS = np.array([[0, 1, 2, 3], [2, 3, 4, 5]])


def blocks(axis: int) -> ir.Model:
    """Return overlapping blocks of a convolution with a scale for each channel."""
    random = np.random.default_rng(1)
    nodes = [
        node("QuantizeLinear", ["image", "scale", "zero"], ["pixels"]),
        node("DequantizeLinear", ["pixels", "scale", "zero"], ["values"]),
        node("DequantizeLinear", ["weight", "scales", "zeros"], ["kernel"], axis=0),
        node("Conv", ["values", "kernel"], ["features"]),
        node("Gather", ["features", "blocks"], ["apart"], axis=axis),
        node("Relu", ["apart"], ["logits"]),
    ]
    sizes = {1: (2, 4, 6, 6), 2: (6, 2, 4, 6), 3: (6, 6, 2, 4)}
    return graph(
        nodes,
        (4, 6, 6),
        sizes[axis],
        scale=np.array(0.03, np.float32),
        zero=np.array(0, np.int8),
        weight=random.integers(-127, 128, (6, 4, 1, 1)).astype(np.int8),
        scales=random.uniform(0.01, 0.02, 6).astype(np.float32),
        zeros=np.zeros(6, np.int8),
        blocks=BLOCKS,
    )


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_blocks_are_read_as_a_list_without_a_change_of_numbers(axis: int) -> None:
    before, after = blocks(axis), blocks(axis)
    assert FlatGathers()(after).modified
    assert [one.op_type for one in after.graph][-3:] == ["Gather", "Reshape", "Relu"]
    assert np.array_equal(run(after, IMAGE), run(before, IMAGE))
    assert not FlatGathers()(after).modified


def test_openvino_compiles_only_a_list_of_indices() -> None:
    """OpenVINO's bug; once fixed, this test fails and the pass can be removed."""
    core = pytest.importorskip("openvino").Core()
    model = blocks(2)
    with pytest.raises(RuntimeError, match="GatherTransformation"):
        core.compile_model(core.read_model(ir.to_proto(model).SerializeToString()), "CPU")
    FlatGathers()(model)
    core.compile_model(core.read_model(ir.to_proto(model).SerializeToString()), "CPU")


def test_int8_graphs_have_lists_of_indices(tmp_path: Path) -> None:
    body = [
        node("MatMul", ["x", "weight"], ["mixed"]),
        node("Gather", ["mixed", "places"], ["apart"], axis=1),
        node("Reshape", ["apart", "tokens_sizes"], ["y"]),
    ]
    places, sizes = np.arange(TOKENS).reshape(2, -1), np.array([-1, TOKENS, WIDTH])
    model = network(body, weight=random(WIDTH, WIDTH), places=places, tokens_sizes=sizes)
    save_graph(model, tmp_path / "model.onnx")
    Lowering("int8", NONE, None).rewrite(tmp_path / "model.onnx", reference(model), takes_pixels=False)
    (gather,) = (one for one in ir.load(tmp_path / "model.onnx").graph if one.op_type == "Gather")
    assert array_of(input_of(gather, 1)).tolist() == list(range(TOKENS))
