"""float64 that was left over: twice the bytes, and TensorRT narrows it to float32."""

from collections.abc import Iterator

import onnx_ir as ir

from export.auditing.checks.base import of_node, of_tensor
from export.auditing.findings import Remark
from export.auditing.names import dtype_of
from export.auditing.subject import Subject

_REMEDY = "make it float32 in the network; TensorRT narrows it, and values beyond float32 are cut off"


def check_float64(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each input, stored tensor and node that is in float64."""
    inputs = [value for value in subject.model.graph.inputs if not value.is_initializer()]
    for kind, values in (("input", inputs), ("stored tensor", subject.initializers())):
        for value in values:
            if dtype_of(value) is ir.DataType.DOUBLE:
                yield of_tensor(value, "warning", f"{kind} in float64", _REMEDY)
    for node in subject.nodes:
        if any(dtype_of(output) is ir.DataType.DOUBLE for output in node.outputs):
            yield of_node(node, "warning", "computes in float64", _REMEDY)
