"""Findings of an audit, the audit, and their table on a terminal."""

from collections import Counter
from typing import Literal

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.passes.values import scope_of

Severity = Literal["error", "warning", "info"]

SHOWN = 8
"""Maximum number of findings of a check on a terminal; --json lists all."""

_STYLE: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}
_NO_MODULE = "_empty_nn_module_stack"  # written by torch.export for its own nodes


class Finding(BaseModel):
    """Finding of a check.

    Attributes:
        severity: `error`: TensorRT's support table excludes it. `warning`: work or bytes that deployment does not need,
            or a shape it does not know. `info`: needs no change.
        found: description of the finding.
        remedy: remedy.
        name: name of the node, tensor, function or domain; None for the whole model.
        op: operator of the node.
        scope: torch module of the node, if the exporter recorded it in the metadata.
        check: name of the check, set by `audit`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Severity
    found: str
    remedy: str
    name: str | None = None
    op: str | None = None
    scope: str | None = None
    check: str = ""


class Audit(BaseModel):
    """Findings of all checks in one model.

    Attributes:
        opsets: version by domain; the standard domain is the empty string.
        nodes: nodes of the graph, its subgraphs and its functions.
        tensorrt: version of the support table that the model was checked against.
        checks: names of the executed checks.
        findings: findings, in the order of the checks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    opsets: dict[str, int]
    nodes: int
    tensorrt: str
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """True if there is no error and no warning."""
        return all(finding.severity == "info" for finding in self.findings)

    def of(self, check: str) -> tuple[Finding, ...]:
        """Return the findings of one check.

        Raises:
            KeyError: no check of that name was made.
        """
        if check not in self.checks:
            raise KeyError(f"no check {check!r}; there are {', '.join(self.checks)}")
        return tuple(finding for finding in self.findings if finding.check == check)


def of_node(node: ir.Node, severity: Severity, found: str, remedy: str) -> Finding:
    """Return a finding on a node; a node without a name is named after its first output."""
    name = node.name or (node.outputs[0].name if node.outputs else None)
    return Finding(
        severity=severity, found=found, remedy=remedy, name=name or None, op=node.op_type, scope=_scope_of(node)
    )


def of_tensor(value: ir.Value, severity: Severity, found: str, remedy: str) -> Finding:
    """Return a finding on a stored tensor, or on an input or output of the graph."""
    return Finding(severity=severity, found=found, remedy=remedy, name=value.name)


def _scope_of(node: ir.Node) -> str | None:
    """Return the torch module that a node was made from, or None if its metadata does not say."""
    scope = scope_of(node)
    return scope if scope and not scope.startswith(_NO_MODULE) else None


def print_audit(audit: Audit, name: str, console: Console) -> None:
    """Print findings, remedies and a summary."""
    if audit.findings:
        console.print(_findings(audit))
        for remedy, checks in _remedies(audit).items():
            console.print(f"[bold]{', '.join(checks)}[/]: {escape(remedy)}", highlight=False)
    counts = Counter(finding.severity for finding in audit.findings)
    said = ", ".join(f"{severity} {counts[severity]}" for severity in _STYLE if counts[severity]) or "no findings"
    opset = audit.opsets.get("", audit.opsets.get("ai.onnx", "none"))
    console.print(
        f"[bold]{escape(name)}[/] opset {opset}, {audit.nodes} nodes, held against TensorRT {audit.tensorrt}: {said}",
        soft_wrap=True,
        highlight=False,
    )


def _findings(audit: Audit) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("check", "severity", "where", "found"):
        table.add_column(column, overflow="fold")
    for check in audit.checks:
        findings = sorted(audit.of(check), key=lambda finding: list(_STYLE).index(finding.severity))
        for finding in findings[:SHOWN]:
            style = _STYLE[finding.severity]
            table.add_row(check, f"[{style}]{finding.severity}[/]", escape(_where(finding)), escape(finding.found))
        if len(findings) > SHOWN:
            table.add_row(check, "", "", f"… and {len(findings) - SHOWN} more, all of them with --json")
    return table


def _where(finding: Finding) -> str:
    parts = [part for part in (finding.op, finding.name) if part]
    return " ".join(parts) + (f" in {finding.scope}" if finding.scope else "") if parts else "the model"


def _remedies(audit: Audit) -> dict[str, list[str]]:
    """Return each remedy once, with the checks that ask for it."""
    remedies: dict[str, list[str]] = {}
    for finding in audit.findings:
        checks = remedies.setdefault(finding.remedy, [])
        if finding.check not in checks:
            checks.append(finding.check)
    return remedies
