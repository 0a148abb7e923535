"""`python -m benchmarks.hostile`: hostile requests to every route of a running service, and their effect on it.

Each request uses a new connection; expanding or slow bodies ("bombs") are sent at even intervals between the others.
A probe requests `/health/live` meanwhile; its slowest response bounds the time that the event loop was blocked.
Memory at the end is compared with memory after the first fifth of the requests, which includes each bomb.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.hostile_bombs import bombs
from benchmarks.hostile_requests import Hostile, hostile
from benchmarks.service_process import Service, served
from examples.digits.train import machine

PATIENCE = 60.0
"""Seconds without a response or close of the connection that count as a hang."""
MIB = 2**20


@dataclass
class Outcome:
    """Results for the requests of one kind."""

    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    faults: int = 0
    hangs: int = 0
    slowest: float = 0.0


def main() -> int:
    """Print the tables; return 1 if the server failed, hung or ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--bombs", type=int, default=5, help="number of times each expanding body is sent")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first request; other numbers give other requests"
    )
    parser.add_argument("--repository", type=Path, default=Path("artifacts"), help="default: the folder of `make demo`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, served(options.repository, Path(name) / "log") as service:
        os.nice(10)  # priority to the server, which is measured
        prober = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.probe", str(service.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        began = time.monotonic()
        load = Load(service, options.clients)
        warm = asyncio.run(load.run(options.first, options.requests, options.bombs))
        seconds = time.monotonic() - began
        probed = json.loads(prober.communicate()[0])
        time.sleep(2)
        print(f"{datetime.now(UTC).date()}, {machine()}, {options.clients} clients, {seconds:.0f} s\n")
        failed = report(load.outcomes, warm, service, probed)
    return int(failed)


class Load:
    """Client that sends requests and counts outcomes.

    Args:
        service: the service under test.
        clients: number of concurrent connections.
    """

    def __init__(self, service: Service, clients: int) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.resets = 0
        self._service = service
        self._clients = clients

    async def run(self, first: int, count: int, repeats: int) -> tuple[int, int, int]:
        """Send `count` requests; return resident bytes, descriptors and threads after a fifth of them."""
        heavy = bombs() * repeats
        every = max(1, count // max(1, len(heavy)))
        room = asyncio.Semaphore(self._clients)
        before = (self._service.resident, self._service.descriptors, self._service.threads)
        pending: set[asyncio.Task[None]] = set()

        async def send(request: Hostile) -> None:
            try:
                await self._send(request)
            finally:
                room.release()

        for number in range(count):
            if number == count // 5:
                before = (self._service.resident, self._service.descriptors, self._service.threads)
            due = [hostile(first + number)]
            if number % every == 0 and heavy:
                due.append(heavy.pop())
            for request in due:
                await room.acquire()
                task = asyncio.create_task(send(request))
                pending.add(task)
                task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        return before

    async def _send(self, request: Hostile) -> None:
        outcome = self.outcomes.setdefault(request.kind, Outcome())
        began = time.monotonic()
        try:
            status = await asyncio.wait_for(self._answer(request), PATIENCE)
        except TimeoutError:
            outcome.hangs += 1
            return
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)
        if status is None:
            outcome.unanswered += 1
            return
        outcome.statuses[status] += 1
        expected = status in {429, 503} or (status == 504 and request.may_be_late) or status == 501
        outcome.faults += status >= 500 and not expected

    async def _answer(self, request: Hostile) -> int | None:
        """Return the status of the first response, or None if the connection ended without one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._service.port)
        head = bytearray()
        try:
            writer.write(request.data)
            if request.half_close:
                writer.write_eof()
            while chunk := await reader.read(65536):
                head += chunk[: 12 - len(head)]
        except OSError:
            self.resets += 1  # a response before the reset counts
        finally:
            writer.close()
        return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") and head[9:12].isdigit() else None


def report(
    outcomes: dict[str, Outcome], warm: tuple[int, int, int], service: Service, probed: dict[str, float]
) -> bool:
    """Print outcomes by kind and the process's resources; return whether anything failed."""
    print("| kind | requests | responses by status | no response | faults (5xx) | hangs | slowest, s |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for kind, outcome in outcomes.items():
        count = sum(outcome.statuses.values()) + outcome.unanswered + outcome.hangs
        statuses = ", ".join(f"{number} × {status}" for status, number in sorted(outcome.statuses.items()))
        row = (
            f"{count} | {statuses} | {outcome.unanswered} | {outcome.faults} | {outcome.hangs} | {outcome.slowest:.1f}"
        )
        print(f"| {kind} | {row} |")
    alive = service.process.poll() is None
    print("\n| process | after a fifth | at the end |\n| --- | ---: | ---: |")
    if alive:
        resident = f"{service.resident / MIB:.0f} ({service.resident / warm[0]:.2f}×)"
        print(f"| resident, MiB | {warm[0] / MIB:.0f} | {resident} |")
        print(f"| descriptors | {warm[1]} | {service.descriptors} |\n| threads | {warm[2]} | {service.threads} |")
    print(f"| tracebacks in the log | | {service.tracebacks()} |")
    print(
        f"\n`/health/live` meanwhile, {probed['count']:.0f} times: p50 {probed['p50']} ms, p99 {probed['p99']} ms, "
        f"p99.9 {probed['p999']} ms, longest {probed['max']} ms, failed {probed['failed']:.0f}"
    )
    faults = sum(outcome.faults + outcome.hangs for outcome in outcomes.values())
    return bool(faults or not alive or service.tracebacks())


if __name__ == "__main__":
    sys.exit(main())
