"""`python -m benchmarks.zoo [SOURCE …]`: each network as torch.onnx exports it (stock), and as posbake does.

Each network has a process of its own. posbake's graphs are made by its command, with random weights and float32 input;
the error is the manifest's: the worst of batches 1, 2, 3 and 7, relative to the largest logit. `--against CHECKOUT`
adds the graph that another checkout of posbake makes. `--graphs DIR` keeps the graphs and takes those that are there,
so that they can be made first (`--runs 0`) and timed later, on an idle machine.

Times are medians of runs that took turns, in ONNX Runtime and, where it is installed, in OpenVINO, told to compute in
float32: `stock / posbake` above 1 is a gain. Movement nodes are those that only move data: Reshape, Transpose, Slice,
Concat, Gather, Split and their like.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from artifact import Batch
from benchmarks.runtimes import installed, interleaved_medians, open_runners
from benchmarks.stock import export_stock
from benchmarks.zoo_graphs import Graph, describe, export_with, kept_or_made
from benchmarks.zoo_networks import NETWORKS, library_module
from examples.digits.train import machine
from export.write.saving import save_graph

ROOT = Path(__file__).parent.parent
MANY = Batch(min=1, max=32)
OPSET = 20
BATCHES = (1, 8)
STOCK, OURS, OTHER = "stock", "posbake", "other"


@dataclass
class Row:
    """One network.

    Attributes:
        graphs: graph by exporter, or the reason why there is none.
        times: medians in ms by runtime, batch and exporter.
    """

    source: str
    graphs: dict[str, Graph | str] = field(default_factory=dict)
    times: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


def main() -> int:
    """Print one row for each network, and the median gains."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS, help="default: the whole list of zoo_networks.py")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout of posbake")
    parser.add_argument("--graphs", type=_absolute, metavar="DIR", help="where graphs are kept, and taken if there")
    parser.add_argument(
        "--runs", type=int, default=10, help="of each graph at each batch size, default: 10; 0: no times"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row = measure(options.sources[0], options.against, options.graphs, options.runs, options.threads)
        print(json.dumps(asdict(row)))
        return 0
    runtimes = installed()
    versions = ", ".join(f"{name} {version}" for name, version in runtimes.items())
    print(f"{datetime.now(UTC).date()}, {machine()}, {versions}, threads: {options.threads}\n")
    exporters = (STOCK, OURS, *([OTHER] if options.against else []))
    timed = [f"{runtime}, batch {batch}" for runtime in runtimes for batch in BATCHES if options.runs]
    columns = [
        "network",
        *(f"{what}: {', '.join(exporters)}" for what in ("nodes", "movement nodes")),
        *("constant-only", "Shape", "error"),
        *(f"{name}: ms of {', '.join(exporters)}; stock / posbake" for name in timed),
        *(f"{name}: other / posbake" for name in timed if options.against),
    ]
    print(f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}")
    rows = []
    for source in options.sources:
        found = _in_a_process(source, options)
        if isinstance(found, str):
            print(f"| `{source}` | failed: {found} |{' |' * (len(columns) - 2)}", flush=True)
            continue
        row = found
        rows.append(row)
        print(f"| {' | '.join(_cells(row, exporters, timed))} |", flush=True)
    print()
    for place, name in enumerate(timed):
        for base in exporters[:1] + exporters[2:]:
            ratios = sorted(ratio for row in rows if (ratio := _ratio(row, timed[place], base)) is not None)
            if ratios:
                print(f"{name}, {base} / posbake: median {statistics.median(ratios):.2f}, least {ratios[0]:.2f}")
    return 0


def measure(source: str, other: Path | None, graphs: Path | None, runs: int, threads: int) -> Row:
    """Export a network with each exporter, and time the graphs."""
    torch.set_num_threads(threads)
    row = Row(source)
    with tempfile.TemporaryDirectory() if graphs is None else nullcontext(graphs) as name:
        folder = Path(name) / re.sub(r"[^A-Za-z0-9_.]+", "-", source)
        makers = {
            OURS: lambda output: export_with(ROOT, source, output),
            OTHER: lambda output: export_with(other, source, output) if other else "not tried",
            STOCK: lambda output: _export_stock(source, row.graphs[OURS], output),
        }
        for exporter, make in makers.items():
            row.graphs[exporter] = kept_or_made(folder / exporter, make)
        paths = {
            exporter: folder / exporter / made.path
            for exporter, made in row.graphs.items()
            if not isinstance(made, str)
        }
        ours = row.graphs[OURS]
        if runs and not isinstance(ours, str):
            size = ours.image_size
            for runtime in installed():
                runners = open_runners(runtime, list(paths.values()), threads)
                row.times[runtime] = {
                    str(batch): dict(zip(paths, interleaved_medians(runners, batch, size, runs), strict=True))
                    for batch in BATCHES
                }
    return row


def _absolute(name: str) -> Path:
    return Path(name).absolute()


def _export_stock(source: str, ours: Graph | str, output: Path) -> Graph | str:
    if isinstance(ours, str):
        return "not tried"
    try:
        stock = export_stock(library_module(source), torch.zeros(2, 3, *ours.image_size), MANY, OPSET)
    except Exception as error:  # noqa: BLE001 -- whatever it is, that is the row
        return type(error.__cause__ or error).__name__
    save_graph(stock, output / "model.onnx")
    return describe(stock, "model.onnx", ours.image_size)


def _in_a_process(source: str, options: argparse.Namespace) -> Row | str:
    command = [sys.executable, "-m", "benchmarks.zoo", "--one", source]
    command += [f"--runs={options.runs}", f"--threads={options.threads}"]
    command += [f"--{name}={folder}" for name in ("against", "graphs") if (folder := getattr(options, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- this script
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    document: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    graphs = {name: made if isinstance(made, str) else Graph(**made) for name, made in document["graphs"].items()}
    return Row(document["source"], graphs, document["times"])


def _cells(row: Row, exporters: Iterable[str], timed: Iterable[str]) -> list[str]:
    """Return the row of a network as it stands in the table."""
    graphs = [row.graphs.get(name, "not tried") for name in exporters]
    ours = row.graphs[OURS]
    cells = [f"`{row.source.replace('python:benchmarks.zoo_networks:', 'transformers: ')}`"]
    cells += [
        ", ".join(graph if isinstance(graph, str) else str(getattr(graph, what)) for graph in graphs)
        for what in ("nodes", "movement_nodes")
    ]
    if isinstance(ours, str):
        return cells
    cells += [str(ours.constant_only), str(ours.shape_nodes), f"{ours.error:.1e}"]
    for name in timed:
        times = _times(row, name)
        shown = ", ".join(f"{times[exporter]:.1f}" for exporter in exporters if exporter in times)
        ratio = _ratio(row, name, STOCK)
        cells.append(shown if ratio is None else f"{shown}; {ratio:.2f}")
    for name in timed:
        if OTHER in row.graphs:
            ratio = _ratio(row, name, OTHER)
            cells.append("" if ratio is None else f"{ratio:.2f}")
    return cells


def _times(row: Row, timed: str) -> dict[str, float]:
    runtime, _, batch = timed.partition(", batch ")
    return row.times.get(runtime, {}).get(batch, {})


def _ratio(row: Row, timed: str, base: str) -> float | None:
    times = _times(row, timed)
    return times[base] / times[OURS] if base in times and OURS in times else None


if __name__ == "__main__":
    sys.exit(main())
