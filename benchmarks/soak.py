"""`python -m benchmarks.soak`: verified responses of a running service under load, hot reload and signals.

Expected probabilities are computed without the service: the images have the network's input size, so a response
depends on the graph alone. Three parts, with a table each:

- answers: every variant, three formats of the body, keep-alive connections; class, probability (to 1e-4) and id are
  compared, and the process's memory before and after.
- reloads: versions are added, removed, overwritten, damaged and repaired, and swapped by rename under load. The labels
  of each version end with its number and content, which reveals a response that mixes two versions.
- signals: SIGTERM, SIGINT and SIGKILL under load, and the next start.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.service_process import Service, served
from benchmarks.soak_clients import GIVE_UP, Clients
from benchmarks.soak_repository import Changes, Expected, expected_answers
from examples.digits.train import machine

MIB = 2**20


def main() -> int:
    """Print the tables; return 1 if a response was wrong or lost, or the process failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--reloads", type=int, default=300)
    parser.add_argument("--signals", type=int, default=10, help="number of signals of each kind")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--repository", type=Path, default=Path("artifacts"), help="default: the folder of `make demo`")
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.clients} clients\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = folder / "repository"
        shutil.copytree(options.repository, repository)
        expected = expected_answers(repository)
        failed = _answers(repository, expected, folder / "log", options.answers, options.clients)
        failed |= _reloads(repository, expected, folder / "log", options.reloads, options.clients)
        failed |= _signals(repository, expected, folder / "log", options.signals)
    return int(failed)


def _answers(repository: Path, expected: Expected, log: Path, count: int, clients: int) -> bool:
    if not count:
        return False
    with served(repository, log) as service:
        load = Clients(service.port, expected, clients)
        load.run(count // 10)
        before = _held(service)
        load.run(count - count // 10)
        after = _held(service)
        tracebacks = service.tracebacks()
    wrong, lost = len(load.wrong), load.lost
    columns = "p50, ms", "p99, ms", "longest, ms", "resident, MiB", "descriptors", "threads"
    print(f"| verified responses | refused | wrong | lost | {' | '.join(columns)} |")
    print(f"|{' ---: |' * (4 + len(columns))}")
    held = " | ".join(f"{one} → {other}" for one, other in zip(before, after, strict=True))
    print(f"| {load.good} | {load.refused} | {wrong} | {lost} | {load.percentiles()} | {held} |\n")
    _explain(load.wrong)
    return bool(wrong or lost or tracebacks)


def _held(service: Service) -> tuple[int, int, int]:
    return service.resident // MIB, service.descriptors, service.threads


def _reloads(repository: Path, expected: Expected, log: Path, count: int, clients: int) -> bool:
    if not count:
        return False
    with served(repository, log, "--reload-seconds", "0.2") as service:
        changes = Changes(repository, expected, service.port)
        load = Clients(service.port, expected, clients)
        before = _held(service)
        with load.running():
            for number in range(count):
                changes.make(number)
        after = _held(service)
        tracebacks = service.tracebacks()
    wrong, lost = len(load.wrong), load.lost
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(changes.made.items()))
    print("| reloads | not seen in 30 s | verified responses | refused | wrong | lost | tracebacks | resident, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    counts = f"{changes.unseen} | {load.good} | {load.refused} | {wrong} | {lost} | {tracebacks}"
    print(f"| {count}: {kinds} | {counts} | {before[0]} → {after[0]} |\n")
    _explain(load.wrong)
    return bool(wrong or lost or tracebacks or changes.unseen)


def _signals(repository: Path, expected: Expected, log: Path, count: int) -> bool:
    if not count:
        return False
    print("| signal | exit status | start, s | verified responses | refused | wrong | clients cut off |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    failed = False
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        statuses: Counter[int] = Counter()
        starts: list[float] = []
        good = refused = cut = 0
        wrong: list[str] = []
        for _ in range(count):
            with served(repository, log) as service:
                load = Clients(service.port, expected, 12)
                with load.running(seconds=1.0):
                    statuses[service.stop(number)] += 1
                starts.append(service.started_in)
                good, refused, cut = good + load.good, refused + load.refused, cut + load.lost // GIVE_UP
                wrong += load.wrong
        ended = ", ".join(f"{times} × {status}" for status, times in statuses.items())
        row = f"{min(starts):.1f}–{max(starts):.1f} | {good} | {refused} | {len(wrong)} | {cut}"
        print(f"| {number.name} | {ended} | {row} |", flush=True)
        _explain(wrong)
        failed |= bool(wrong) or statuses != {(-signal.SIGKILL if number is signal.SIGKILL else 0): count}
    return failed


def _explain(wrong: list[str]) -> None:
    for text in wrong[:5]:
        print(f"wrong: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
