"""`python -m benchmarks.zoo [SOURCE …]`: graphs of torch.onnx (stock) and of posbake for each network.

Each network runs in its own process. posbake's graphs are exported by its command, with random weights and float32
input; the error is the manifest's: the maximum over batches 1, 2, 3 and 7, relative to the largest logit.
`--against CHECKOUT` adds the graphs of another checkout of posbake. `--graphs DIR` keeps graphs and reuses existing
ones; `benchmarks.zoo_times` times them, on an idle machine. Movement nodes only move data: Reshape, Transpose, Slice,
Concat, Gather, Split and similar operators.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from artifact import Batch
from benchmarks.stock import export_stock
from benchmarks.zoo_graphs import OTHER, OURS, STOCK, Graph, describe, export_with, folder_of, kept_or_made, shown
from benchmarks.zoo_networks import NETWORKS, library_module
from examples.digits.train import machine
from export.write.saving import save_graph

ROOT = Path(__file__).parent.parent
MANY = Batch(min=1, max=32)
OPSET = 20


def main() -> int:
    """Print one row for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS, help="default: all of zoo_networks.py")
    parser.add_argument("--against", type=_absolute, metavar="CHECKOUT", help="another checkout of posbake")
    parser.add_argument("--graphs", type=_absolute, metavar="DIR", help="folder of graphs; existing ones are reused")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        made = make(options.sources[0], options.against, options.graphs)
        print(json.dumps({name: graph if isinstance(graph, str) else asdict(graph) for name, graph in made.items()}))
        return 0
    print(f"{datetime.now(UTC).date()}, {machine()}\n")
    exporters = (STOCK, OURS, *([OTHER] if options.against else []))
    counted = (f"{what}: {', '.join(exporters)}" for what in ("nodes", "movement nodes"))
    columns = ["network", *counted, "constant-only", "Shape", "error"]
    print(f"| {' | '.join(columns)} |\n| --- |{' ---: |' * (len(columns) - 1)}")
    with tempfile.TemporaryDirectory() if options.graphs is None else nullcontext(options.graphs) as graphs:
        for source in options.sources:
            found = _in_a_process(source, options.against, Path(graphs))
            cells = [f"failed: {found}"] if isinstance(found, str) else _cells(found, exporters)
            print(f"| `{shown(source)}` | {' | '.join(cells)} |", flush=True)
    return 0


def make(source: str, other: Path | None, graphs: Path) -> dict[str, Graph | str]:
    """Return a network's graph, or the reason why there is none, by exporter."""
    torch.set_num_threads(1)
    folder = folder_of(source, graphs)
    made = {OURS: kept_or_made(folder / OURS, lambda output: export_with(ROOT, source, output))}
    if other is not None:
        made[OTHER] = kept_or_made(folder / OTHER, lambda output: export_with(other, source, output))
    made[STOCK] = kept_or_made(folder / STOCK, lambda output: _export_stock(source, made[OURS], output))
    return made


def _absolute(name: str) -> Path:
    return Path(name).absolute()


def _export_stock(source: str, ours: Graph | str, output: Path) -> Graph | str:
    if isinstance(ours, str):
        return "not tried"
    try:
        stock = export_stock(library_module(source), torch.zeros(2, 3, *ours.image_size), MANY, OPSET)
    except Exception as error:  # noqa: BLE001 -- any exception becomes the row
        return type(error.__cause__ or error).__name__
    save_graph(stock, output / "model.onnx")
    return describe(stock, "model.onnx", ours.image_size)


def _in_a_process(source: str, other: Path | None, graphs: Path) -> dict[str, Graph | str] | str:
    command = [sys.executable, "-m", "benchmarks.zoo", "--one", source, f"--graphs={graphs}"]
    command += [f"--against={other}"] if other else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- this script
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    document = json.loads(done.stdout.strip().rpartition("\n")[2])
    return {name: graph if isinstance(graph, str) else Graph(**graph) for name, graph in document.items()}


def _cells(made: dict[str, Graph | str], exporters: Sequence[str]) -> list[str]:
    """Return the cells of a network's row, without its name."""
    graphs, ours = [made[name] for name in exporters], made[OURS]
    counts = [
        ", ".join(graph if isinstance(graph, str) else str(getattr(graph, what)) for graph in graphs)
        for what in ("nodes", "movement_nodes")
    ]
    if isinstance(ours, str):
        return counts
    return [*counts, str(ours.constant_only), str(ours.shape_nodes), f"{ours.error:.1e}"]


if __name__ == "__main__":
    sys.exit(main())
