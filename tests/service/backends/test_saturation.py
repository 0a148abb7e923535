"""int8 products do not saturate, also on CPUs without VNNI."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from artifact import Artifact, read_artifact
from engines.saturation import int8_saturates
from service.backends.base import Backend
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.backends.openvino import OpenVinoBackend
from service.problems.errors import GraphError
from tests.service.artifacts import add_artifact
from tests.service.hostile_graphs import constant, put_graph

WIDTH, SCALE = 64, 2.0
WHITE = np.full((1, 8, 6, 3), 254, np.uint8)
EXPECTED = np.array([[WIDTH, WIDTH, -WIDTH, WIDTH // 2]]) * 127 * 127 * SCALE
"""Logits of `WHITE`: each of the products is 127 · 127, above half of the largest 16-bit number."""


def put_products(repository: Path, layers: int = 1, *, shared: bool = False) -> Artifact:
    """Write a graph whose activations and weights have the largest int8 magnitude.

    Args:
        repository: repository of the artifact.
        layers: number of layers, whose logits are averaged.
        shared: True if layers have the same zero points, as in artifacts before this was avoided.
    """
    add_artifact(repository)
    path = repository / "colours/mean/1"
    weights = np.full((WIDTH, 4), 127, np.int8)
    weights[:, 2] = -127
    weights[: WIDTH // 4, 3] = -127
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "first"], ["activation"]),
        helper.make_node("QuantizeLinear", ["activation", "step", "none"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "step", "none"], ["activations"]),
    ]
    constants = [
        constant("axes", [1, 2]),
        constant("first", np.full((3, WIDTH), 1 / 3), np.float32),
        constant("step", SCALE, np.float32),
        constant("none", 0, np.int8),
        constant("scale", np.ones(4), np.float32),
        constant("layers", layers, np.float32),
    ]
    for layer in range(layers):
        zero = "zero_0" if shared else f"zero_{layer}"
        nodes += [
            helper.make_node("DequantizeLinear", [f"weight_{layer}", "scale", zero], [f"w_{layer}"], axis=1),
            helper.make_node("MatMul", ["activations", f"w_{layer}"], [f"y_{layer}"]),
        ]
        constants += [constant(f"weight_{layer}", weights, np.int8)]
        constants += [constant(zero, np.zeros(4), np.int8)] if layer == 0 or not shared else []
    nodes += [
        helper.make_node("Sum", [f"y_{layer}" for layer in range(layers)], ["sum"]),
        helper.make_node("Div", ["sum", "layers"], ["logits"]),
    ]
    put_graph(path, *nodes, constants=tuple(constants))
    return read_artifact(path)


def error(logits: NDArray[np.float32]) -> float:
    return float(np.abs(logits - EXPECTED).max() / np.abs(EXPECTED).max())


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_largest_products_are_exact(tmp_path: Path, kind: type[Backend], layers: int) -> None:
    backend = kind(put_products(tmp_path, layers), "cpu", 1)  # type: ignore[call-arg]  # both take these arguments
    assert error(backend.run(WHITE)) < 0.005
    assert error(backend.run(np.repeat(WHITE, 3, axis=0))) < 0.005


def test_onnx_runtime_alone_saturates_on_the_cpus_that_are_detected(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(put_products(tmp_path).graph, providers=["CPUExecutionProvider"])
    assert (error(session.run(None, {"image": WHITE})[0]) > 0.1) is int8_saturates()


def test_onnx_runtime_refuses_shared_constants_only_where_products_saturate(
    tmp_path: Path,
) -> None:
    artifact = put_products(tmp_path, 2, shared=True)
    refused = pytest.raises(GraphError, match=r"share constants.* without VNNI .*--backend openvino")
    with refused if int8_saturates() else nullcontext():
        assert error(OnnxRuntimeBackend(artifact, "cpu", 1).run(WHITE)) < 0.005
    assert error(OpenVinoBackend(artifact, "cpu", 1).run(WHITE)) < 0.005
