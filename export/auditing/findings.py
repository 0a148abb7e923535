"""Findings of an audit, and their table on the terminal."""

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
"""Maximum number of findings per check on the terminal; --json lists all."""

_STYLE: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}
_NO_MODULE = "_empty_nn_module_stack"  # written by torch.export for its own nodes


class Finding(BaseModel):
    """Finding of a check.

    Attributes:
        severity: `error`: not supported according to TensorRT's support table. `warning`: unnecessary work or bytes, or
            an unknown shape. `info`: no change is needed.
        found: description of the finding.
        remedy: remedy.
        name: name of the node, tensor, function or domain; None for the whole model.
        op: operator of the node.
        scope: torch module of the node, if the exporter recorded it.
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

    @property
    def where(self) -> str:
        """Operator, name and module."""
        parts = [part for part in (self.op, self.name) if part]
        return " ".join(parts) + (f" in {self.scope}" if self.scope else "") if parts else "the model"


class Audit(BaseModel):
    """Findings of all checks in one model.

    Attributes:
        opsets: opset by domain; the standard domain is the empty string.
        nodes: number of nodes in the graph, its subgraphs and its functions.
        tensorrt: TensorRT version that the model was checked for.
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
            KeyError: the check was not executed.
        """
        if check not in self.checks:
            raise KeyError(f"check {check!r} was not executed; the executed checks are {', '.join(self.checks)}")
        return tuple(finding for finding in self.findings if finding.check == check)


def of_node(node: ir.Node, severity: Severity, found: str, remedy: str) -> Finding:
    """Return a finding on a node; a node without a name gets the name of its first output."""
    name = node.name or (node.outputs[0].name if node.outputs else None)
    return Finding(
        severity=severity, found=found, remedy=remedy, name=name or None, op=node.op_type, scope=_scope_of(node)
    )


def of_tensor(value: ir.Value, severity: Severity, found: str, remedy: str) -> Finding:
    """Return a finding on an initialiser, or on an input or output of the graph."""
    return Finding(severity=severity, found=found, remedy=remedy, name=value.name)


def _scope_of(node: ir.Node) -> str | None:
    """Return the torch module of a node; None if it is not recorded."""
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
        f"[bold]{escape(name)}[/] opset {opset}, {audit.nodes} nodes, checked for TensorRT {audit.tensorrt}: {said}",
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
            table.add_row(check, f"[{style}]{finding.severity}[/]", escape(finding.where), escape(finding.found))
        if len(findings) > SHOWN:
            table.add_row(check, "", "", f"… and {len(findings) - SHOWN} more; list all with --json")
    return table


def _remedies(audit: Audit) -> dict[str, list[str]]:
    """Return the distinct remedies, with their checks."""
    remedies: dict[str, list[str]] = {}
    for finding in audit.findings:
        checks = remedies.setdefault(finding.remedy, [])
        if finding.check not in checks:
            checks.append(finding.check)
    return remedies
