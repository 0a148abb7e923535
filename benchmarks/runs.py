"""`python -m benchmarks.runs`: runs of a network on the CPU, one after the other on all cores or one on each core.

What the service does rests on this (service/scheduling/workers.py, service/backends/onnx_runtime.py). Ways take turns,
for the machine's speed drifts; figures are medians over the rounds, images a second.
"""

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from artifact import read_artifact
from benchmarks.serving_inputs import NETWORKS, export
from examples.digits.train import machine
from service.backends.onnx_runtime import OnnxRuntimeBackend
from service.backends.warming import blank
from service.scheduling.cores import available_cores


@dataclass(frozen=True)
class Way:
    """So many threads, each of which runs batches of so many images on all cores (`spread`) or on its own."""

    name: str
    callers: int
    batch: int
    spread: bool


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    options = parser.parse_args()
    cores = available_cores()
    ways = [
        Way("one at a time, on all cores", 1, 1, True),
        Way("the same, 8 images at once", 1, 8, True),
        Way("one a core, on all cores", cores, 1, True),
        Way("one a core, each on its core", cores, 1, False),
        Way("the same, 4 images at once", cores, 4, False),
    ]
    print(f"{datetime.now(UTC).date()}, {machine()}, {options.rounds} rounds of {options.seconds:g} s\n")
    print(f"| runs | {' | '.join(f'{name}, images/s | ×' for name in NETWORKS)} |")
    print(f"| --- |{' ---: | ---: |' * len(NETWORKS)}")
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(name, Path(folder) / name, ways, options.rounds, options.seconds) for name in NETWORKS]
    for way in ways:
        cells = [f"{rates[way]:.0f} | {rates[way] / rates[ways[0]]:.2f}" for rates in found]
        print(f"| {way.name} | {' | '.join(cells)} |")


def measure(network: str, folder: Path, ways: list[Way], rounds: int, seconds: float) -> dict[Way, float]:
    """Return images a second of each way."""
    folder.mkdir()
    artifact = read_artifact(export(NETWORKS[network], folder, ["uint8"]) / "benchmark/uint8/1")
    backend = OnnxRuntimeBackend(artifact, "cpu", available_cores())
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            images = blank(artifact.manifest, way.batch)
            backend.run(images, spread=way.spread)
            rates[way].append(rate(backend, images, way, seconds))
    return {way: statistics.median(found) for way, found in rates.items()}


def rate(backend: OnnxRuntimeBackend, images: np.ndarray, way: Way, seconds: float) -> float:
    """Return images a second, of all threads."""
    counts = [0] * way.callers
    start = time.perf_counter()

    def work(place: int) -> None:
        while time.perf_counter() - start < seconds:
            backend.run(images, spread=way.spread)
            counts[place] += way.batch

    threads = [threading.Thread(target=work, args=(place,)) for place in range(way.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
