"""Results as Markdown and JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.running import Result


def markdown(results: Sequence[Result], heading: str) -> str:
    """Return a summary of all parts and a table for each."""
    lines = [f"# GPU check: {heading}", "", "| part | outcome | seconds | |", "| --- | --- | ---: | --- |"]
    for result in results:
        failed = [row.what for row in result.rows if not row.ok]
        outcome = result.outcome if result.ok or result.outcome == "failed" else "failed"
        note = result.reason or ("; ".join(failed) and f"failed: {'; '.join(failed)}")
        lines.append(f"| {result.name} | {outcome} | {result.seconds} | {_cell(note)} |")
    for result in results:
        if result.rows:
            lines += ["", f"## {result.name}", "", *_table(result)]
    return "\n".join(lines) + "\n"


def write(results: Sequence[Result], heading: str, output: Path) -> None:
    """Write `gpu_check.md` and `gpu_check.json`."""
    (output / "gpu_check.md").write_text(markdown(results, heading), encoding="utf-8")
    found = {"heading": heading, "parts": [asdict(result) for result in results]}
    (output / "gpu_check.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


def _table(result: Result) -> list[str]:
    columns = list(dict.fromkeys(name for row in result.rows for name in row.figures))
    lines = [f"| | {' | '.join(columns)} | |", f"| --- |{' ---: |' * len(columns)} --- |"]
    for row in result.rows:
        cells = (_cell(row.figures.get(column, "")) for column in columns)
        lines.append(f"| {_cell(row.what)} | {' | '.join(cells)} | {'' if row.ok else 'failed'} |")
    return lines


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
