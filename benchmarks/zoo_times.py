"""`python -m benchmarks.zoo_times --graphs DIR --minutes M [SOURCE …]`: times of the graphs of `benchmarks.zoo`.

A round runs each graph once, in ONNX Runtime and, if installed, in OpenVINO, in float32 on one thread. Networks share
the time equally, with at least two rounds of each kind. Times are kept beside the graphs until a graph is exported
again; further calls add rounds, to the networks with the fewest first.

A ratio is the median over the rounds of a graph's CPU time over that of posbake's in the same round (above 1, posbake
is faster); ± is half the interquartile range.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.runtimes import Run, installed, open_runners
from benchmarks.zoo_graphs import OTHER, OURS, STOCK, Graph, folder_of, known_graph, shown
from benchmarks.zoo_networks import NETWORKS
from examples.digits.train import machine

BATCHES = (1, 8)
_LEAST = 2
"""Minimum number of rounds for each network, runtime and batch size in one call."""

Rounds = dict[str, list[dict[str, float]]]
"""Times in ms of each graph in each round, by runtime and batch size."""


def main() -> int:
    """Time the graphs, and print a row for each network, and medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo_times", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS, help="default: all of zoo_networks.py")
    parser.add_argument("--graphs", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="time for runs; default: 0, which prints the kept times"
    )
    options = parser.parse_args()
    there = [source for source in options.sources if known_graph(folder_of(source, options.graphs) / OURS)]
    kept = {source: _read(folder_of(source, options.graphs)) for source in there}
    left = sorted(there, key=lambda source: sum(map(len, kept[source].values()))) if options.minutes else []
    end = time.monotonic() + 60 * options.minutes
    for number, source in enumerate(left):
        share = max(0.0, end - time.monotonic()) / (len(left) - number)
        _add_rounds(folder_of(source, options.graphs), kept[source], share)
        print(f"{number + 1}/{len(left)} {source}", file=sys.stderr, flush=True)
    _print({source: rounds for source, rounds in kept.items() if rounds})
    return 0


def _read(folder: Path) -> Rounds:
    """Return the kept rounds, or none if a graph is newer."""
    times = folder / "times.json"
    made = [file.stat().st_mtime for file in folder.glob("*/graph.json")]
    if not times.exists() or times.stat().st_mtime < max(made):
        return {}
    rounds: Rounds = json.loads(times.read_text(encoding="utf-8"))
    return rounds


def _add_rounds(folder: Path, rounds: Rounds, seconds: float) -> None:
    """Time the graphs of a network for `seconds`, and keep the rounds."""
    graphs = {name: graph for name in (STOCK, OURS, OTHER) if (graph := known_graph(folder / name)) is not None}
    end = time.monotonic() + seconds
    for number, runtime in enumerate(runtimes := list(installed())):
        runners = open_runners(runtime, [folder / name / graph.path for name, graph in graphs.items()], 1)
        share = max(0.0, end - time.monotonic()) / (len(runtimes) - number)
        for batch, found in _rounds(dict(zip(graphs, runners, strict=True)), graphs[OURS], share):
            rounds.setdefault(f"{runtime}, batch {batch}", []).append(found)
    (folder / "times.json").write_text(json.dumps(rounds), encoding="utf-8")


def _rounds(runners: Mapping[str, Run], graph: Graph, seconds: float) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield batch sizes and each runner's CPU time in ms; batch sizes share `seconds` equally."""
    spent, rounds = dict.fromkeys(BATCHES, 0.0), dict.fromkeys(BATCHES, 0)
    generator = np.random.default_rng(0)
    images = {batch: generator.normal(size=(batch, 3, *graph.image_size)).astype(np.float32) for batch in BATCHES}
    for batch in BATCHES:  # warm-up
        start = time.monotonic()
        for run in runners.values():
            run(images[batch])
        spent[batch] = time.monotonic() - start
    while sum(spent.values()) < seconds or min(rounds.values()) < _LEAST:
        batch = min(BATCHES, key=lambda size: (rounds[size] >= _LEAST, spent[size]))
        began, found = time.monotonic(), {}
        order = list(runners) if rounds[batch] % 2 else list(runners)[::-1]
        for name in order:
            start = time.process_time()
            runners[name](images[batch])
            found[name] = 1000 * (time.process_time() - start)
        spent[batch] += time.monotonic() - began
        rounds[batch] += 1
        yield batch, found


def _print(kept: Mapping[str, Rounds]) -> None:
    timed = [f"{runtime}, batch {batch}" for runtime in installed() for batch in BATCHES]
    bases = [base for base in (STOCK, OTHER) if any(base in one for rounds in kept.values() for one in _all(rounds))]
    versions = ", ".join(f"{name} {version}" for name, version in installed().items())
    print(f"{datetime.now(UTC).date()}, {machine()}, {versions}, one thread\n")
    columns = ["network", *(f"{name}: ms; {base} / posbake" for base in bases for name in timed)]
    print(f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}")
    medians: dict[str, list[float]] = {}
    for source, rounds in kept.items():
        cells = [f"`{shown(source)}`"]
        for base in bases:
            for name in timed:
                ratios = [one[base] / one[OURS] for one in rounds.get(name, ()) if base in one]
                cells.append(_cell(ratios, rounds.get(name, ())))
                if ratios:
                    medians.setdefault(f"{name}, {base} / posbake", []).append(statistics.median(ratios))
        print(f"| {' | '.join(cells)} |")
    print()
    for what, found in medians.items():
        print(f"{what}: median {statistics.median(found):.2f}, least {min(found):.2f}, of {len(found)}")


def _all(rounds: Rounds) -> Iterator[dict[str, float]]:
    for some in rounds.values():
        yield from some


def _cell(ratios: Sequence[float], rounds: Sequence[Mapping[str, float]]) -> str:
    if not ratios:
        return ""
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    ours = statistics.median(one[OURS] for one in rounds)
    return f"{ours:.1f}; {statistics.median(ratios):.2f} ± {(high - low) / 2:.2f}"


if __name__ == "__main__":
    sys.exit(main())
