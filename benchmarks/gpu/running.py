"""Execution of parts in separate processes with time limits: a crash or hang ends one part and keeps its rows."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.part import ROOT, Row, Settings


@dataclass(frozen=True)
class Planned:
    """A part to run.

    Attributes:
        name: name for `--parts` and in the results.
        entry: `module:function`.
        limit: time limit in seconds.
    """

    name: str
    entry: str
    limit: float


@dataclass
class Result:
    """Outcome of a part.

    Attributes:
        name: name of the part.
        outcome: `done`, `skipped` or `failed`.
        reason: reason for any outcome but `done`.
        seconds: duration in seconds.
        rows: emitted rows.
    """

    name: str
    outcome: str
    reason: str
    seconds: float
    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if no check failed; skipped parts are not failures."""
        return self.outcome != "failed" and all(row.ok for row in self.rows)


def run_parts(
    parts: Iterable[Planned], settings: Settings, seconds: float, show: Callable[[Result], None]
) -> list[Result]:
    """Run parts one after the other, skipping those not started within `seconds`."""
    end = time.monotonic() + seconds
    results = []
    for part in parts:
        left = end - time.monotonic()
        if left <= 0:
            result = Result(part.name, "skipped", f"not started within the time limit of {seconds:g} s", 0.0)
        else:
            result = run_part(part, settings, min(part.limit, left))
        show(result)
        results.append(result)
    return results


def run_part(part: Planned, settings: Settings, limit: float) -> Result:
    """Run one part, with its output in `<output>/<name>.log`; its child processes are killed at the end."""
    output = Path(settings.output)
    lines, log = output / f"{part.name}.jsonl", output / f"{part.name}.log"
    lines.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu.child", part.entry, settings.to_json(), str(lines)]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))  # posbake may not be installed
    environment = {**os.environ, "PYTHONPATH": paths}
    start = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment, start_new_session=True)  # noqa: S603
        try:
            status = process.wait(limit)
            ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            outcome, reason = "failed", f"its process {ended}; its output is in {log.name}"
        except subprocess.TimeoutExpired:
            outcome, reason = "failed", f"it took longer than {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):  # no process of its session is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    result = Result(part.name, outcome, reason, round(time.monotonic() - start, 1))
    for text in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else ():
        line = json.loads(text)
        if "outcome" in line:
            result.outcome, result.reason = line["outcome"], line["reason"]
        else:
            result.rows.append(Row(**line))
    return result
