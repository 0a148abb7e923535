"""Dimensions of inputs and outputs: only the first, the batch, should be open."""

from collections.abc import Iterator

import onnx_ir as ir

from export.auditing.checks.base import of_tensor
from export.auditing.findings import Remark
from export.auditing.subject import Subject


def check_dimensions(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each open dimension that is not the batch; say where the batch is fixed."""
    graph = subject.model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]  # old models list their weights as inputs
    open_batch = any(value.shape is not None and _is_open(value.shape, 0) for value in inputs)
    for kind, values in (("input", inputs), ("output", graph.outputs)):
        for value in values:
            yield from _of_value(kind, value, open_batch=open_batch)


def _of_value(kind: str, value: ir.Value, *, open_batch: bool) -> Iterator[Remark]:
    if value.shape is None:
        yield of_tensor(
            value, "warning", f"{kind} without a shape", "export it with static sizes, only the batch left open"
        )
        return
    for axis in range(1, len(value.shape)):
        if _is_open(value.shape, axis):
            yield of_tensor(
                value,
                "warning",
                f"{kind} {_show(value.shape)}: axis {axis} is open",
                "fix it at export: position tables are made for one size",
            )
    if len(value.shape) and not _is_open(value.shape, 0):
        if kind == "output" and open_batch:
            yield of_tensor(
                value,
                "warning",
                f"output {_show(value.shape)}: the batch is fixed, that of the input is open",
                "look for len(x) or int(x.shape[0]) in the network",
            )
        else:
            yield of_tensor(
                value,
                "info",
                f"{kind} {_show(value.shape)}: the batch is fixed",
                "export with a dynamic batch if requests shall share a run",
            )


def _is_open(shape: ir.Shape, axis: int) -> bool:
    return axis < len(shape) and not isinstance(shape[axis], int)


def _show(shape: ir.Shape) -> str:
    return "[" + ", ".join(str(size) if isinstance(size, int) else str(size.value or "?") for size in shape) + "]"
