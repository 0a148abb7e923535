"""Activations of a float32 graph on calibration images: sampled rows and the range of each channel.

Shapes: C channels, n rows; a row is one token, or one pixel of a convolution's input.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export.passes.values import add_constant, name_of
from export.precision.layers import Layers
from export.verify.sessions import cpu_session
from export.write.saving import save_graph

Array = NDArray[np.float32]

ROWS = 1024
"""Approximate number of sampled rows per activation. With 4,096 channels they take 16 MB."""

_STRIDE = 7919
"""A prime, so that different rows are sampled from each batch."""


@dataclass(frozen=True)
class Observed:
    """Sampled rows [n, C] of an activation, and the largest magnitude [C] of each channel over all rows."""

    rows: Array
    largest: Array


def observe(model: ir.Model, groups: Sequence[Layers], batches: Iterable[NDArray[Any]], count: int) -> list[Observed]:
    """Return the observed activation of each group, for `count` batches of the graph's input."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    offset = ir.Value(name="offset", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64))
    copy.graph.inputs.append(offset)
    del copy.graph.outputs[:]
    for group in groups:
        _add_outputs(copy, values[name_of(group.activation)], offset, -(-ROWS // count), convolve=group.convolve)
    with tempfile.TemporaryDirectory() as folder:
        save_graph(copy, Path(folder) / "observed.onnx")
        session = cpu_session(Path(folder) / "observed.onnx")
    rows: list[list[Array]] = [[] for _ in groups]
    largest: list[Array] = []
    for number, images in enumerate(batches):
        found = session.run(None, {"image": images, "offset": np.array([number * _STRIDE], np.int64)})
        for some, part in zip(rows, found[::2], strict=True):
            some.append(part)
        largest = [np.maximum(*pair) for pair in zip(largest or found[1::2], found[1::2], strict=True)]
    return [Observed(np.concatenate(some), most) for some, most in zip(rows, largest, strict=True)]


def _add_outputs(model: ir.Model, value: ir.Value, offset: ir.Value, rows: int, *, convolve: bool) -> None:
    """Add graph outputs with `rows` rows of an activation and the largest magnitude of each channel."""
    graph, name, shape = model.graph, name_of(value), value.shape
    assert shape is not None, "values of a traced graph have shapes"

    def integer(what: str, *numbers: int) -> ir.Value:
        return add_constant(model, np.array(numbers, np.int64), f"{name}_{what}")

    def insert(operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:  # noqa: ANN401 -- any ONNX attribute
        node = ir.node(operator, inputs, attributes)
        graph.append(node)
        return node.outputs[0]

    axes, channels = len(shape), shape[1 if convolve else -1]
    assert isinstance(channels, int), "the weight determines the number of channels"
    last = insert("Transpose", value, perm=[0, *range(2, axes), 1]) if convolve else value
    flat = insert("Reshape", last, integer("flat", -1, channels))
    step = insert("Max", insert("Div", insert("Shape", flat, end=1), integer("wanted", rows)), integer("one", 1))
    first = insert("Mod", offset, step)
    axis, end = integer("axis", 0), integer("end", np.iinfo(np.int64).max)
    for kind, out in (
        ("rows", insert("Slice", flat, first, end, axis, step)),
        ("largest", insert("ReduceMax", insert("Abs", flat), axis, keepdims=0)),
    ):
        out.name, out.dtype = f"{name}_{kind}", ir.DataType.FLOAT
        graph.outputs.append(out)
