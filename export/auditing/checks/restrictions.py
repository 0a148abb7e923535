"""Restrictions that TensorRT's table puts on operators it supports: modes, ranks, what must be constant."""

from collections.abc import Iterator

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.origins import STANDARD
from export.auditing.rules import Place
from export.auditing.subject import Subject

_REMEDY = "see the operator's row in the support table; write the node within it"


def check_restrictions(subject: Subject) -> Iterator[Remark]:
    """Yield an error for each broken restriction; repeat, as information, those that a graph does not show."""
    for node in subject.nodes:
        row = subject.support.operators.get(node.op_type)
        if node.domain not in STANDARD or subject.calls_function(node) or row is None:
            continue
        for rule in row.rules:
            for broken in rule.check(Place(node, subject.origins)):
                yield of_node(node, "error" if broken.certain else "info", broken.found, _REMEDY)
        if row.unchecked is not None:
            yield of_node(node, "info", f"not checked: {row.unchecked}", _REMEDY)
