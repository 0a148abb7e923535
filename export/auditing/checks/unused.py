"""Stored tensors that nothing reads."""

from collections.abc import Iterator

from export.auditing.checks.base import of_tensor
from export.auditing.findings import Remark
from export.auditing.subject import Subject


def check_unused(subject: Subject) -> Iterator[Remark]:
    """Yield a warning for each stored tensor that no node reads and that is no output."""
    for value in subject.initializers():
        if not value.uses() and not value.is_graph_output() and value.const_value is not None:
            yield of_tensor(
                value, "warning", f"stored and never read, {value.const_value.nbytes} bytes", "remove it from the file"
            )
