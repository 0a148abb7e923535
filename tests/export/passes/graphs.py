"""Graphs for tests of passes: built from text, run before and after a pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper, parser, shape_inference

from export.passes.exact import RoundConstants
from export.verify.sessions import cpu_session

Array = np.ndarray[Any, Any]
BATCH = 11
"""Number of images that graphs with a dynamic batch are traced with."""


def graph_of(text: str, **constants: Array) -> ir.Model:
    """Return a graph of `(inputs) => (outputs) { nodes }` with inferred shapes and `constants` as initialisers."""
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> test {text}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return ir.from_proto(shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True))


def filled(random: np.random.Generator, *shape: int) -> Array:
    """Return random numbers, float32."""
    return random.normal(size=shape).astype(np.float32)


def run(model: ir.Model) -> list[Array]:
    """Return the outputs of a graph for random inputs, which are the same on every call."""
    generator = np.random.default_rng(0)
    session = cpu_session(ir.to_proto(model).SerializeToString(), threads=1)
    inputs = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        assert value.dtype is not None
        inputs[value.name] = generator.normal(size=value.shape.numpy()).astype(value.dtype.numpy())
    return [np.asarray(result) for result in session.run(None, inputs)]


def run_on(model: ir.Model, image: Array, *, optimise: bool = True) -> Array:
    """Return the first output of a graph for an image.

    Args:
        optimise: allow ONNX Runtime's fusions, which round differently.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


def operators(model: ir.Model) -> list[str]:
    """Return the operators of a graph in order."""
    return [node.op_type for node in model.graph]


def shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the initialisers that are read."""
    return {
        name: tuple(value.shape.numpy())
        for name, value in model.graph.initializers.items()
        if value.uses() and value.shape is not None
    }


def rewritten(make_pass: Callable[[], ir.passes.InPlacePass], model: ir.Model) -> bool:
    """Run a pass, check that the graph computes the same as before, and return whether the pass reports a change."""
    before, nodes = run(model), operators(model)
    modified = make_pass()(model).modified
    after = run(model)
    for found, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert modified or operators(model) == nodes
    assert not make_pass()(model).modified, "a second run must not change the graph"
    return modified


def folded(make_pass: Callable[[], ir.passes.InPlacePass], model: ir.Model) -> bool:
    """Run a folding pass, check that the graph computes the same as before, and return whether it was changed.

    Folded weights are rounded to float32 once each, so results differ by a few units in the last place.
    """
    before, structure = run(model), (operators(model), shapes(model))
    modified = make_pass()(model).modified
    RoundConstants()(model)
    for found, expected in zip(run(model), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert modified == (structure != (operators(model), shapes(model)))
    assert not make_pass()(model).modified, "a second run must not change the graph"
    return modified


def ints(*values: int) -> Array:
    """Return int64 numbers, the type of ONNX's shapes and axes."""
    return np.array(values, dtype=np.int64)
