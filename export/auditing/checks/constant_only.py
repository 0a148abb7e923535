"""Nodes that could be computed before the graph runs: all they read is stored, or computed from what is stored."""

from collections.abc import Iterator

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.origins import STANDARD, Origin
from export.auditing.subject import Subject

# A Constant is a literal. DequantizeLinear of stored integers is how weights are kept small: folded, they would be
# floats again.
_MEANT = frozenset({"Constant", "DequantizeLinear"})


def check_constant_only(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each node that always computes the same."""
    for node in subject.nodes:
        meant = node.domain in STANDARD and node.op_type in _MEANT
        if subject.origin(node) is Origin.CONSTANT and not meant:
            yield of_node(
                node,
                "warning",
                "computes the same for every image",
                "fold it: export with posbake, or run a constant folder over the file",
            )
