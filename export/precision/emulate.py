"""Emulation of half precision in float32, for the parity check only.

ONNX Runtime's CPU provider has no bfloat16 kernels, and it runs float16 graphs in float32 without rounding between
nodes, so that an overflow stays undetected. Here every half-precision node computes in float32 and its result is
rounded, like a kernel that accumulates in float32.
"""

import tempfile
from pathlib import Path

import onnx_ir as ir
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from export.precision.half import HALVES, cast_to
from export.precision.rules import MOVES
from export.process.errors import ExportError
from export.verify.parity import Run, run_graph
from export.verify.reference import Array, Reference
from export.write.saving import save_graph

_SINGLE = ir.DataType.FLOAT


def run_lowered(precision: str, graph: Path, reference: Reference, *, takes_pixels: bool) -> dict[Run, Array]:
    """Return the logits [images, classes] of each run of a graph.

    `native` is ONNX Runtime's CPU provider with the graph itself, `emulated` with a float32 copy that rounds: a
    half-precision graph is always emulated, and run natively too if the provider has the kernels.

    Raises:
        ExportError: ONNX Runtime cannot load or run the graph.
    """
    found: dict[Run, Array] = {}
    if precision in HALVES:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "emulated.onnx"
            save_graph(emulate(ir.load(graph)), copy)
            found["emulated"] = run_graph(copy, reference, takes_pixels=takes_pixels)
    try:
        found["native"] = run_graph(graph, reference, takes_pixels=takes_pixels)
    except ort_errors.NotImplemented as error:
        if not found:
            raise ExportError(f"ONNX Runtime has no kernel for a node of the {precision} graph: {error}") from error
    return found


def emulate(model: ir.Model) -> ir.Model:
    """Return a float32 copy of a half-precision graph; a pair of Casts rounds the result of each node to half."""
    copy = ir.from_proto(ir.to_proto(model))
    for value in copy.graph.initializers.values():
        if value.dtype in HALVES.values():
            assert value.const_value is not None, "an initialiser holds its value"
            value.const_value = ir.tensor(value.const_value.numpy().astype("float32"), name=value.name)
            value.dtype = _SINGLE
    for node in list(copy.graph):
        for value in node.outputs:
            if value.dtype in HALVES.values():
                _round(copy.graph, node, value)
    return copy


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Make a half value float32, rounded; what only moves numbers has them rounded already."""
    half = value.dtype
    assert half is not None
    if node.op_type in MOVES:
        value.dtype = _SINGLE
        return
    uses = list(value.uses())
    rounded = value
    last = node
    if node.op_type != "Cast":  # a Cast to half rounds by itself
        value.dtype = _SINGLE
        last = cast_to(value, half, "rounded")
        graph.insert_after(node, last)
        rounded = last.outputs[0]
    widened = cast_to(rounded, _SINGLE, "widened")
    graph.insert_after(last, widened)
    for user, index in uses:
        user.replace_input_with(index, widened.outputs[0])
