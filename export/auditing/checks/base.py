"""What a check is, and how it speaks of nodes and tensors."""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from export.auditing.findings import Remark, Severity
from export.auditing.names import scope_of
from export.auditing.subject import Subject

Check = Callable[[Subject], Iterator[Remark]]


def of_node(node: ir.Node, severity: Severity, found: str, remedy: str) -> Remark:
    """Return a remark on a node; a node without a name goes by its first output's."""
    name = node.name or (node.outputs[0].name if node.outputs else None)
    return Remark(
        severity=severity, found=found, remedy=remedy, name=name or None, op=node.op_type, scope=scope_of(node)
    )


def of_tensor(value: ir.Value, severity: Severity, found: str, remedy: str) -> Remark:
    """Return a remark on a stored tensor, or on an input or output of the graph."""
    return Remark(severity=severity, found=found, remedy=remedy, name=value.name)
