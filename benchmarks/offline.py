"""`python -m benchmarks.offline`: throughput of `service.offline predict` over files, and the in-process limit.

The limit is that of benchmarks/serving.py: the same stages in a loop, in one process per core. Runs are interleaved, on
the same images; predict also reads files and writes rows. CPU time is comparable even if other programs use the cores.
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
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.serving_inputs import IMAGES, NETWORKS, ROOT, export, make_images
from benchmarks.serving_limit import limit
from examples.digits.train import machine


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement of the limit")
    parser.add_argument(
        "--memory",
        type=Path,
        metavar="REPOSITORY",
        help="instead: peak memory with 1,000 and 100,000 files, with digits/none of this repository",
    )
    options = parser.parse_args()
    if options.memory is not None:
        return measure_memory(options.memory)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder)
        repository = export(NETWORKS[options.network], folder, ["uint8"])
        files = folder / "files"
        files.mkdir()
        for place in range(options.files):
            shutil.copy(folder / f"{place % IMAGES}.jpg", files / f"{place:06}.jpg")
        artifact = repository / "benchmark/uint8/1"
        runs = []
        for number in range(options.rounds):
            rate, cost = in_process(artifact, folder, options.seconds)
            runs.append((rate, *predict(repository, files, folder / f"{number}.csv"), cost))
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.files} files, {options.rounds} rounds\n")
    print("| network | in-process limit, images/s | predict, images/s | share | CPU, ms: limit | predict | share |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    most, rate, spent, least = (statistics.median(column) for column in zip(*runs, strict=True))
    shares = statistics.median(run[1] / run[0] for run in runs), statistics.median(run[3] / run[2] for run in runs)
    print(
        f"| {options.network} | {most:.0f} | {rate:.0f} | {shares[0]:.2f} | {least:.2f} | {spent:.2f} "
        f"| {shares[1]:.2f} |"
    )
    return 0


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
            arguments += [
                "--model",
                "digits",
                "--variant",
                "none",
                "--output",
                str(Path(name) / f"{count}.jsonl"),
                "--quiet",
            ]
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


def in_process(artifact: Path, folder: Path, seconds: int) -> tuple[float, float]:
    """Return the limit in images/s and its CPU time in ms per image, without start and loading."""
    start = cpu_seconds()
    limit(artifact, folder, 0)
    loaded = cpu_seconds()
    rate = limit(artifact, folder, seconds)
    return rate, 1000 * (cpu_seconds() - loaded - (loaded - start)) / (rate * seconds)


def predict(repository: Path, files: Path, output: Path) -> tuple[float, float]:
    """Return a run's throughput in images/s and its CPU time in ms per image, without start and loading."""
    command = [sys.executable, "-m", "service.offline", "predict", str(files), "--repository", str(repository)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run() -> dict[str, float]:
        ended = subprocess.run(  # noqa: S603
            [*command, "--output", str(output), "--json"], check=True, stdout=subprocess.PIPE, cwd=ROOT, env=environment
        )
        found: dict[str, float] = json.loads(ended.stdout)
        return found

    start = cpu_seconds()
    found = run()
    middle = cpu_seconds()
    run()  # skips all images
    loading = cpu_seconds() - middle
    return found["images_per_second"], 1000 * (middle - start - loading) / found["written"]


def cpu_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
