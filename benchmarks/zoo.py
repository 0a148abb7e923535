"""`python -m benchmarks.zoo [SOURCE …]`: what torch.onnx makes of each network, beside what posbake makes of it.

Each network has a process of its own. Weights are random and position tables wide, or parity would prove nothing; the
error is the worst over uint8 and float32 input, at batches 1, 2, 3 and 7, relative to the largest logit. Times in
ONNX Runtime are of one float32 image, medians of runs that took turns.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from artifact import Batch
from benchmarks.bake import interleaved_medians, open_session
from benchmarks.stock import export_stock
from benchmarks.zoo_networks import CLASSES, NETWORKS, library_module
from examples.digits.train import machine
from export.auditing import audit
from export.bake import Normalisation, bake
from export.graph import build_graph
from export.parity import FLOAT64, Reference, check_parity, compute_reference
from export.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source

MANY = Batch(min=1, max=32)
OPSET = 20
EVERYTHING = 1.0
"""A tolerance that nothing exceeds: the error is shown, and judged by whoever reads the table."""


TOOLS = ("torch", "timm", "torchvision", "transformers", "onnxruntime")
COLUMNS = (
    "network",
    "stock: constant-only",
    "Shape",
    "nodes",
    "s",
    "posbake",
    "constant-only",
    "Shape",
    "nodes",
    "s",
    "audit",
    "error",
    "stock / posbake, ms",
)


@dataclass(frozen=True)
class Exported:
    """What one exporter made of a network."""

    seconds: float
    nodes: int
    constant_only: int
    shape_nodes: int
    for_tensorrt: tuple[str, ...]  # what the audit names
    batch_is_dynamic: bool


@dataclass(frozen=True)
class Row:
    """One network."""

    source: str
    stock: Exported | str  # or why not
    ours: Exported | str
    way: str = ""
    parity: float = 0.0
    reference: str = FLOAT64  # what the parity is with
    milliseconds: tuple[float, float] | None = None  # stock, ours


def main() -> int:
    """Print one row for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("sources", nargs="*", default=NETWORKS, help="default: the whole list of zoo_networks.py")
    parser.add_argument("--runs", type=int, default=10, help="of each graph, default: 10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(asdict(measure(options.sources[0], options.runs, options.threads))))
        return 0
    tools = ", ".join(f"{tool} {version(tool)}" for tool in TOOLS)
    print(f"{datetime.now(UTC).date()}, {machine()}, {tools}, threads: {options.threads}\n")
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"| --- |{' ---: |' * 4} --- |{' ---: |' * (len(COLUMNS) - 6)}")
    for source in options.sources:
        print(_in_a_process(source, options.runs, options.threads), flush=True)
    return 0


def measure(source: str, runs: int, threads: int) -> Row:
    """Export a network both ways and compare."""
    loaded = load_source(source, RandomWeights(0), Overrides(num_classes=CLASSES))
    way = "re-hosted" if loaded.not_rehosted is None else "evaluated"
    example = torch.zeros(2, 3, *loaded.image_size)
    library = library_module(source)
    stock_model: ir.Model | None = None
    start = time.perf_counter()
    try:
        stock_model = export_stock(library, example, MANY, OPSET)
        stock: Exported | str = _describe(stock_model, time.perf_counter() - start)
    except Exception as error:  # noqa: BLE001 -- whatever it is, that is the row
        stock = type(error.__cause__ or error).__name__
    normalisation = Normalisation(loaded.preprocess.mean, loaded.preprocess.std)
    reference = compute_reference(loaded.network, loaded.image_size, normalisation, MANY)
    errors = [_error(loaded.network, loaded.image_size, reference, takes_pixels=True)]
    start = time.perf_counter()
    form, _ = bake(loaded.network, None)
    model = build_graph(form, example, MANY, OPSET).model
    ours = _describe(model, time.perf_counter() - start)
    errors.append(_error(loaded.network, loaded.image_size, reference, takes_pixels=False))
    milliseconds = None
    if stock_model is not None:
        image = np.random.default_rng(0).normal(size=(1, 3, *loaded.image_size)).astype(np.float32)
        sessions = [open_session(graph, threads) for graph in (stock_model, model)]
        first, second = interleaved_medians(sessions, image, runs)
        milliseconds = (first, second)
    return Row(source, stock, ours, way, max(errors), reference.made_by, milliseconds)


def _describe(model: ir.Model, seconds: float) -> Exported:
    found = audit(model)
    ops = [node.op_type for node in model.graph]
    image, logits = model.graph.inputs[0], model.graph.outputs[0]
    frozen = any(value.shape is None or isinstance(value.shape[0], int) for value in (image, logits))
    named = tuple(sorted({finding.check for finding in found.findings if finding.severity != "info"}))
    return Exported(seconds, len(ops), len(found.of("constant-only")), ops.count("Shape"), named, not frozen)


def _error(network: nn.Module, size: tuple[int, int], reference: Reference, *, takes_pixels: bool) -> float:
    example = torch.zeros(2, *size, 3, dtype=torch.uint8) if takes_pixels else torch.zeros(2, 3, *size)
    form, _ = bake(network, reference.normalisation if takes_pixels else None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_graph(build_graph(form, example, MANY, OPSET).model, path)
        return check_parity(reference, path, takes_pixels=takes_pixels, tolerance=EVERYTHING).max_rel_error


def _in_a_process(source: str, runs: int, threads: int) -> str:
    """Return the row of a network as it stands in the table."""
    command = [sys.executable, "-m", "benchmarks.zoo", "--one", source, f"--runs={runs}", f"--threads={threads}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- this script
    shown = source.replace("python:benchmarks.zoo_networks:", "transformers: ")
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        return f"| `{shown}` | | | | | failed: {reason} | | | | | | | |"
    row = json.loads(done.stdout.strip().rpartition("\n")[2])
    stock, ours, times = row["stock"], row["ours"], row["milliseconds"]
    theirs = (
        f"fails: {stock} | | | "
        if isinstance(stock, str)
        else f"{stock['constant_only']} | {stock['shape_nodes']} | {stock['nodes']} | {stock['seconds']:.1f}"
        + ("" if stock["batch_is_dynamic"] else " (batch frozen)")
    )
    error = f"{row['parity']:.1e}" + ("" if row["reference"] == FLOAT64 else f" to {row['reference']}")
    flagged = ", ".join(ours["for_tensorrt"]) or "nothing"
    took = "" if times is None else f"{times[0]:.1f} / {times[1]:.1f} = {times[0] / times[1]:.2f}"
    return (
        f"| `{shown}` | {theirs} | {row['way']} | {ours['constant_only']} | {ours['shape_nodes']} | {ours['nodes']} "
        f"| {ours['seconds']:.1f} | {flagged} | {error} | {took} |"
    )


if __name__ == "__main__":
    sys.exit(main())
