"""`python -m benchmarks.offline`: throughput of `service.offline predict` over files, and the in-process limit.

The limit is that of benchmarks/serving.py: the same stages in a loop on images in memory, on the same backend, in one
process with one thread per core. Runs are interleaved, on the same images; predict also reads files and writes rows.
Throughput and CPU time exclude startup and loading, except in the column for the whole command. CPU time is comparable
even if other programs use the cores.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving_inputs import IMAGES, NETWORKS, ROOT, export, make_images
from benchmarks.serving_limit import limit
from examples.digits.train import machine
from service.resources.cores import available_cores

FILES = {"small": 5000, "swin_tiny": 300}
"""Default number of files."""


@dataclass(frozen=True)
class Round:
    """One measurement of the limit and of predict: images a second, and CPU ms an image."""

    limit: float
    predict: float
    share: float
    command: float
    limit_cpu: float
    predict_cpu: float
    cpu_share: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.offline", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["small"])
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, available_cores()])
    parser.add_argument("--files", type=int, help=f"default: {FILES}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement of the limit")
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="REPOSITORY",
        help="instead: peak memory of one process with 1,000 and 100,000 files, with digits/none of this repository",
    )
    options = parser.parse_args()
    if options.memory is not None:
        return measure_memory(options.memory)
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds\n")
    print(
        "| network | files | backend | processes | in-process limit, images/s | predict, images/s | share | with start "
        "| CPU, ms: limit | predict | share |"
    )
    print(f"| --- | ---: | --- |{' ---: |' * 8}")
    with tempfile.TemporaryDirectory() as name:
        for network in options.networks:
            _print_rows(network, Path(name) / network, options)
    return 0


def _print_rows(network: str, folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir()
    make_images(folder)
    repository = export(NETWORKS[network], folder, ["uint8"])
    (files := folder / "files").mkdir()
    count = options.files or FILES[network]
    for place in range(count):
        shutil.copy(folder / f"{place % IMAGES}.jpg", files / f"{place:06}.jpg")
    rounds: dict[tuple[str, int], list[Round]] = {
        (backend, processes): [] for backend in options.backends for processes in options.processes
    }
    for number in range(options.rounds):
        for (backend, processes), measured in rounds.items():
            rate, cost = in_process(repository / "benchmark/uint8/1", folder, options.seconds, backend)
            output = folder / f"{backend}-{processes}-{number}.csv"
            found, command, spent = predict(repository, files, output, backend, processes)
            measured.append(Round(rate, found, found / rate, command, cost, spent, cost / spent))
    for (backend, processes), measured in rounds.items():
        columns = zip(*map(astuple, measured), strict=True)
        formats = (".0f", ".0f", ".2f", ".0f", ".2f", ".2f", ".2f")
        cells = [format(statistics.median(column), form) for column, form in zip(columns, formats, strict=True)]
        print(f"| {network} | {count} | {backend} | {processes} | {' | '.join(cells)} |", flush=True)


def measure_memory(repository: Path) -> int:
    """Print the peak memory of runs over tiny images, and of runs that only skip them."""
    print(f"{datetime.now(UTC).date()}, {machine()}\n")
    print("| files | peak, MiB | peak of a second run, which skips all, MiB |")
    print("| ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "files"
        folder.mkdir()
        for count in (1000, 100_000):
            for place in range(count):
                shutil.copy(ROOT / "examples/digits/samples" / f"{place % 10}.png", folder / f"{place:06}.png")
            arguments = ["predict", str(folder), "--repository", str(repository)]
            arguments += ["--model", "digits", "--variant", "none", "--output", str(Path(name) / f"{count}.jsonl")]
            arguments += ["--processes", "1", "--quiet"]
            print(f"| {count} | {peak(arguments)} | {peak(arguments)} |")
    return 0


def peak(arguments: list[str]) -> int:
    """Return the peak resident size of a run in MiB; ru_maxrss would include this process, before exec."""
    command = [sys.executable, "-c", _PEAK, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=environment)  # noqa: S603
    return int(run.stdout) // 1024


_PEAK = """
import sys
from pathlib import Path
from service.offline.__main__ import main
assert main(sys.argv[1:]) == 0
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


def in_process(artifact: Path, folder: Path, seconds: int, backend: str) -> tuple[float, float]:
    """Return the limit in images/s and its CPU time in ms per image, without startup and loading."""
    start = cpu_seconds()
    limit(artifact, folder, 0, backend=backend)
    loaded = cpu_seconds()
    rate = limit(artifact, folder, seconds, backend=backend)
    return rate, 1000 * (cpu_seconds() - loaded - (loaded - start)) / (rate * seconds)


def predict(repository: Path, files: Path, output: Path, backend: str, processes: int) -> tuple[float, float, float]:
    """Return images/s without and with startup, and CPU time in ms per image without startup."""
    command = [sys.executable, "-m", "service.offline", "predict", str(files), "--repository", str(repository)]
    command += ["--backend", backend, "--processes", str(processes), "--output", str(output), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run() -> dict[str, float]:
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=environment)  # noqa: S603
        found: dict[str, float] = json.loads(ended.stdout)
        return found

    start, began = cpu_seconds(), time.perf_counter()
    found = run()
    middle, took = cpu_seconds(), time.perf_counter() - began
    run()  # skips all images
    loading = cpu_seconds() - middle
    spent = 1000 * (middle - start - loading) / found["written"]
    return found["images_per_second"], found["written"] / took, spent


def cpu_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
