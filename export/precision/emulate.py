"""Emulation of half precision in float32, for the parity check only.

ONNX Runtime's CPU provider has no bfloat16 kernels, and it computes float16 graphs in float32 without rounding between
nodes, which hides overflows. The emulation computes each node in float32 and rounds its result, as a kernel with
float32 accumulation does.
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
    """Return the logits [images, classes] of each run of a graph in ONNX Runtime's CPU provider.

    `native` runs the graph itself, if the provider has the kernels; `emulated` runs the copy of `emulate`, for half
    precision only.

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
    """Return a float32 copy of a half-precision graph, with a pair of Casts after each node that rounds its result."""
    copy = ir.from_proto(ir.to_proto(model))
    for value in copy.graph.initializers.values():
        if value.dtype in HALVES.values():
            assert value.const_value is not None, "an initialiser has a value"
            value.const_value = ir.tensor(value.const_value.numpy().astype("float32"), name=value.name)
            value.dtype = _SINGLE
    for node in list(copy.graph):
        for value in node.outputs:
            if value.dtype in HALVES.values():
                _round(copy.graph, node, value)
    return copy


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Convert a half-precision value to a rounded float32 value; data movement needs no rounding."""
    half = value.dtype
    assert half is not None
    if node.op_type in MOVES:
        value.dtype = _SINGLE
        return
    uses = list(value.uses())
    rounded = value
    last = node
    if node.op_type != "Cast":  # a Cast to half precision already rounds
        value.dtype = _SINGLE
        last = cast_to(value, half, "rounded")
        graph.insert_after(node, last)
        rounded = last.outputs[0]
    widened = cast_to(rounded, _SINGLE, "widened")
    graph.insert_after(last, widened)
    for user, index in uses:
        user.replace_input_with(index, widened.outputs[0])
