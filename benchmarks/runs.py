"""`python -m benchmarks.runs`: throughput of a network on the CPU by batch size and threads per run.

Basis of the service's scheduling (service/scheduling/workers.py, service/backends): sequential runs on all cores
compared with one concurrent run per core. Runs are interleaved, because the machine's speed drifts; figures are medians
over the rounds.
"""

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from artifact import Artifact, read_artifact
from benchmarks.serving_inputs import NETWORKS, export
from examples.digits.train import machine
from imaging.preprocess import Tensor
from service.backends import choose_ways
from service.backends.base import Backend
from service.backends.warming import blank
from service.resources.cores import available_cores


@dataclass(frozen=True)
class Way:
    """Number of concurrent runs, their batch size, and whether each uses all cores (`spread`) or one."""

    name: str
    callers: int
    batch: int
    spread: bool


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["onnxruntime", "openvino", "openvino:bf16"],
        help="NAME or NAME:PRECISION, on the CPU",
    )
    options = parser.parse_args()
    cores = available_cores()
    ways = [
        Way("sequential, batch 1, all cores", 1, 1, True),
        Way("sequential, batch 8, all cores", 1, 8, True),
        Way("one run per core, batch 1, all cores", cores, 1, True),
        Way("one run per core, batch 1, one core each", cores, 1, False),
        Way("one run per core, batch 4, one core each", cores, 4, False),
    ]
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds of {options.seconds:g} s\n")
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            found = measure(network, Path(folder) / network, options.backends, ways, options.rounds, options.seconds)
            print(f"| {network} | {' | '.join(f'{name}, images/s | × | CPU ms' for name in options.backends)} |")
            print(f"| --- |{' ---: | ---: | ---: |' * len(options.backends)}")
            first = found[options.backends[0], ways[0]][0]
            for way in ways:
                rows = [found[name, way] for name in options.backends]
                cells = [f"{images:.0f} | {images / first:.2f} | {cpu:.1f}" for images, cpu in rows]
                print(f"| {way.name} | {' | '.join(cells)} |")
            print()


def measure(
    network: str, folder: Path, names: list[str], ways: list[Way], rounds: int, seconds: float
) -> dict[tuple[str, Way], tuple[float, float]]:
    """Return throughput in images/s and CPU ms per image for each backend and way."""
    folder.mkdir()
    artifact = read_artifact(export(NETWORKS[network], folder, ["uint8"]) / "benchmark/uint8/1")
    backends = {name: open_backend(artifact, name) for name in names}
    found: dict[tuple[str, Way], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for way in ways:
            images = blank(artifact.manifest, way.batch)
            for name, backend in backends.items():
                backend.run(images, spread=way.spread)
                found.setdefault((name, way), []).append(rate(backend, images, way, seconds))
    return {
        place: (statistics.median(images for images, _ in rates), statistics.median(cpu for _, cpu in rates))
        for place, rates in found.items()
    }


def open_backend(artifact: Artifact, name: str) -> Backend:
    """Open a CPU backend given as NAME or NAME:PRECISION."""
    backend, _, precision = name.partition(":")
    way = choose_ways(backend, "cpu", precision or "fp32").of(artifact.manifest)[0]
    return way.open(artifact, available_cores())


def rate(backend: Backend, images: Tensor, way: Way, seconds: float) -> tuple[float, float]:
    """Return the throughput of all threads in images/s, and CPU ms per image."""
    counts = [0] * way.callers
    start, cpu = time.perf_counter(), time.process_time()

    def work(place: int) -> None:
        while time.perf_counter() - start < seconds:
            backend.run(images, spread=way.spread)
            counts[place] += way.batch

    threads = [threading.Thread(target=work, args=(place,)) for place in range(way.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, used = time.perf_counter() - start, time.process_time() - cpu
    return sum(counts) / elapsed, 1000 * used / sum(counts)


if __name__ == "__main__":
    main()
