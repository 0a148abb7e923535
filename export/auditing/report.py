"""What an audit tells its user: a table of findings, and what to do about each kind."""

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export.auditing.findings import Audit, Finding, Severity

SHOWN = 8
"""Findings of one check that a terminal shows; --json has all."""

_STYLE: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}


def print_audit(audit: Audit, name: str, console: Console) -> None:
    """Print what was found in a model, what to do, and a line that sums up."""
    if audit.findings:
        console.print(_findings(audit))
        for remedy, checks in _remedies(audit).items():
            console.print(f"[bold]{', '.join(checks)}[/]: {escape(remedy)}", highlight=False)
    counts = Counter(finding.severity for finding in audit.findings)
    said = ", ".join(f"{severity} {counts[severity]}" for severity in _STYLE if counts[severity]) or "nothing to mend"
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
