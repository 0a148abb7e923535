"""`python -m benchmarks.serving_threads`: CPU time per response by thread, and that of the in-process limit.

Runs of the limit and of the loaded service are interleaved, with the same network, images and backend
(POSBAKE_BACKEND). The main thread is the event loop; other threads decode, resize, run the network and write the log.
wrk shares the cores with the service, so the share of the limit is also given for the cores that wrk leaves. Figures
are medians of the rounds. CPU time is comparable even if other programs use the cores; throughput is not.
"""

import argparse
import resource
import statistics
import sys
import tempfile
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.offline import in_process
from benchmarks.serving_contenders import CONTENDERS
from benchmarks.serving_inputs import NETWORKS, export, make_images
from benchmarks.serving_load import load, wrk_is_installed
from benchmarks.serving_servers import running
from examples.digits.train import machine
from service.resources.cores import available_cores
from service.settings import Settings


@dataclass(frozen=True)
class Round:
    """Images and responses per second, shares of the limit, and CPU time per image or response in µs."""

    limit: float
    answers: float
    share: float
    share_without_wrk: float
    limit_cpu: float
    event_loop: float
    other_threads: float
    beside_stages: float
    """CPU time of the service minus that of the limit."""
    wrk: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_threads", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--port", type=int, default=8790)
    options = parser.parse_args()
    if not wrk_is_installed():
        parser.error("wrk is missing; install it: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        repository = export(NETWORKS[options.network], folder, ["uint8"])
        rounds = [measure(repository, folder, options) for _ in range(options.rounds)]
    about = f"{options.network}, backend {Settings().backend}, {options.clients} clients"
    print(f"{datetime.now(UTC).date()}, {machine()}, {about}, {options.rounds} rounds of {options.seconds} s\n")
    print(
        "| limit, images/s | requests/s | of the limit | without wrk's CPU time | CPU, µs: limit | event loop "
        "| other threads | more than the limit | wrk |"
    )
    print(f"|{' ---: |' * 9}")
    columns = zip(*map(astuple, rounds), strict=True)
    formats = (".0f", ".0f", ".2f", ".2f", *[".0f"] * 5)
    print("|", " | ".join(f"{statistics.median(c):{form}}" for c, form in zip(columns, formats, strict=True)), "|")
    return 0


def measure(repository: Path, images: Path, options: argparse.Namespace) -> Round:
    """Return one round: the limit, then the service, started anew."""
    limit, limit_cpu = in_process(repository / "benchmark/uint8/1", images, options.seconds, Settings().backend)
    with running(CONTENDERS["posbake"], options.port, repository, images) as server:
        load(server, options.clients, 1)
        loop, every, wrk = *_used(server.process), _ended()
        found = load(server, options.clients, options.seconds)
        loop, every, wrk = (
            now - was for now, was in zip((*_used(server.process), _ended()), (loop, every, wrk), strict=True)
        )
    answer = 1e6 / found.good
    taken = found.good_per_second * wrk / found.good / available_cores()
    share = found.good_per_second / limit
    return Round(
        limit,
        found.good_per_second,
        share,
        share / (1 - taken),
        1000 * limit_cpu,
        answer * loop,
        answer * (every - loop),
        answer * every - 1000 * limit_cpu,
        answer * wrk,
    )


def _used(process: int) -> tuple[float, float]:
    """Return the CPU seconds of the main thread of a process, and of all its threads (proc_pid_schedstat)."""
    seconds = {
        int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{process}/task").iterdir()
    }
    return seconds[process], sum(seconds.values())


def _ended() -> float:
    """Return the CPU seconds of ended child processes: during a load, of wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
