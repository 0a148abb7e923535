"""`python -m benchmarks.serving_libraries`: CPU time per image by native library, of the service and the limit.

Linux's perf samples the threads of the loaded service, and the processes of the in-process limit, which run the same
stages without HTTP. Needs perf (Debian's package linux-perf) and permission to sample.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving_contenders import CONTENDERS
from benchmarks.serving_inputs import NETWORKS, export, make_images
from benchmarks.serving_limit import start
from benchmarks.serving_load import load, wrk_is_installed
from benchmarks.serving_servers import running
from examples.digits.train import machine
from service.settings import Settings

RATE = 997
"""Samples per second of CPU time."""
_SECONDS_TO_LOAD = 6
_ROWS = 8
_SAMPLE = re.compile(r"\s*(\d+)\s.*\((.*)\)$")

Times = dict[str, float]
"""CPU time per image in µs by library."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_libraries", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--port", type=int, default=8790)
    options = parser.parse_args()
    if not wrk_is_installed() or shutil.which("perf") is None:
        parser.error("wrk or perf is missing; install them: apt-get install wrk linux-perf")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        repository = export(NETWORKS[options.network], folder, ["uint8"])
        rounds = [
            (of_limit(repository, folder, options.seconds), *of_service(repository, folder, options))
            for _ in range(options.rounds)
        ]
    about = f"{options.network}, backend {Settings().backend}, {options.clients} clients"
    print(f"{datetime.now(UTC).date()}, {machine()}, {about}, {options.rounds} rounds of {options.seconds} s\n")
    print("| library | limit, µs | service, worker threads | event loop |\n| --- | ---: | ---: | ---: |")
    columns = [[one[place] for one in rounds] for place in range(3)]
    measured = [times for column in columns for times in column]
    names = {name for times in measured for name in times}
    largest = sorted(names, key=lambda name: sum(times.get(name, 0) for times in measured), reverse=True)[:_ROWS]
    for row in (*largest, "others", "all"):
        print(f"| {row} | {' | '.join(f'{_median(column, row, largest):.0f}' for column in columns)} |")
    return 0


def of_limit(repository: Path, images: Path, seconds: int) -> Times:
    """Return the times of the in-process limit."""
    processes = start(repository / "benchmark/uint8/1", images, seconds + _SECONDS_TO_LOAD + 1)
    time.sleep(_SECONDS_TO_LOAD)
    record([process.pid for process in processes], seconds, images / "limit.perf").wait()
    samples = read(images / "limit.perf")
    rate = sum(float(process.communicate()[0]) for process in processes)
    return _times(samples.values(), rate * seconds)


def of_service(repository: Path, images: Path, options: argparse.Namespace) -> tuple[Times, Times]:
    """Return the times of the loaded service: of its worker and other threads, and of the event loop."""
    with running(CONTENDERS["posbake"], options.port, repository, images) as server:
        load(server, options.clients, 1)
        recording = record([server.process], options.seconds, images / "service.perf")
        found = load(server, options.clients, options.seconds + 1)
        recording.wait()
        samples = read(images / "service.perf")
    responses = found.good_per_second * options.seconds
    loop = samples.pop(server.process)
    return _times(samples.values(), responses), _times([loop], responses)


def record(processes: Sequence[int], seconds: int, file: Path) -> subprocess.Popen[bytes]:
    """Start perf."""
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(RATE), "-o", str(file)]
    return subprocess.Popen([*command, "-p", ",".join(map(str, processes)), "--", "sleep", str(seconds)])  # noqa: S603


def read(file: Path) -> dict[int, Counter[str]]:
    """Return the number of samples by thread and library."""
    command = ["perf", "script", "-i", str(file), "-F", "tid,ip,sym,dso"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout  # noqa: S603
    samples: dict[int, Counter[str]] = {}
    for line in lines.splitlines():
        if (found := _SAMPLE.match(line)) is not None:
            samples.setdefault(int(found[1]), Counter())[_library(found[2])] += 1
    return samples


def _library(path: str) -> str:
    if path.startswith("["):
        return "kernel"
    name = re.split(r"[.-]", Path(path).name)[0]
    return "generated code" if name == "perf" else name  # perf-PID.map


def _times(samples: Iterable[Counter[str]], images: float) -> Times:
    return {name: 1e6 * count / RATE / images for name, count in sum(samples, Counter[str]()).items()}


def _median(rounds: Sequence[Times], row: str, largest: Sequence[str]) -> float:
    """Return the median time of a library, of the libraries that are not listed, or of all."""
    if row in largest:
        return statistics.median(times.get(row, 0) for times in rounds)
    left = () if row == "all" else largest
    return statistics.median(sum(time for name, time in times.items() if name not in left) for times in rounds)


if __name__ == "__main__":
    sys.exit(main())
