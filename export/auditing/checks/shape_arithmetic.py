"""Work on sizes: what reads a tensor's shape, what is computed from that, and tensors whose size depends on data."""

from collections.abc import Iterator

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.origins import SIZES, STANDARD, Origin
from export.auditing.subject import Subject

_SIZED_BY_VALUES = frozenset({"ConstantOfShape", "NonZero", "Range"})


def check_shape_arithmetic(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each node that is there for sizes only, or whose output's size depends on values."""
    for node in subject.nodes:
        standard = node.domain in STANDARD
        match subject.origin(node):
            case Origin.SIZE if standard and node.op_type in SIZES:
                yield of_node(
                    node,
                    "warning",
                    "reads a size while the graph runs",
                    "write sizes into the graph: Reshape takes 0 and −1 in place of the batch, and the rest is static",
                )
            case Origin.SIZE:
                yield of_node(
                    node,
                    "warning",
                    "computed from sizes only",
                    "it goes with the Shape or Size that it is computed from",
                )
            case Origin.DATA if standard and node.op_type in _SIZED_BY_VALUES:
                yield of_node(
                    node,
                    "warning",
                    "its output's size depends on values",
                    "make the size static: such a tensor cannot be planned for",
                )
