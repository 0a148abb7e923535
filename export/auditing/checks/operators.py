"""Operators that TensorRT's parser does not take, or not yet in the version asked for."""

from collections.abc import Iterator

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.origins import STANDARD
from export.auditing.subject import Subject
from export.auditing.support import version_order

_REMEDY = "write it with other operators, or give TensorRT a plugin"


def check_operators(subject: Subject) -> Iterator[Remark]:
    """Yield an error for each node of the standard domain that is not in the table, or that the table says no to."""
    for node in subject.nodes:
        if node.domain not in STANDARD or subject.calls_function(node):
            continue
        row = subject.support.operators.get(node.op_type)
        if row is None:
            yield of_node(node, "error", f"TensorRT's table does not list {node.op_type}", _REMEDY)
        elif not row.supported:
            yield of_node(node, "error", f"TensorRT does not support {node.op_type}", _REMEDY)
        elif row.since is not None and version_order(row.since) > version_order(subject.tensorrt):
            yield of_node(
                node,
                "error",
                f"TensorRT supports {node.op_type} since {row.since}, not in {subject.tensorrt}",
                f"use TensorRT {row.since} or later, or an opset that writes it with other operators",
            )
