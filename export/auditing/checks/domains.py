"""Nodes outside ONNX's standard domain, and functions that a model brings along."""

from collections import Counter
from collections.abc import Iterator

from export.auditing.checks.base import of_node
from export.auditing.findings import Remark
from export.auditing.origins import STANDARD
from export.auditing.subject import Subject


def check_domains(subject: Subject) -> Iterator[Remark]:
    """Yield an error for each contributed operator, a warning for each function."""
    calls = Counter(node.op_identifier() for node in subject.nodes)
    for identifier, function in subject.model.functions.items():
        yield Remark(
            severity="warning",
            found=f"function of domain {function.domain or 'ai.onnx'}, called {calls[identifier]} times",
            remedy="inline it with onnx.inliner.inline_local_functions: not every runtime takes functions",
            name=function.name,
        )
    for node in subject.nodes:
        if node.domain not in STANDARD and not subject.calls_function(node):
            yield of_node(
                node,
                "error",
                f"of domain {node.domain}, which only some runtimes know",
                "export without it, or give TensorRT a plugin of that name",
            )
