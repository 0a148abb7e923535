"""`python -m benchmarks.bake`: posbake's graphs compared with torch.onnx's of the same networks, in ONNX Runtime.

Both take normalised float32 images, so they do the same work. Runs are interleaved, because the machine's
speed drifts; ratios are of medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from artifact import Batch
from benchmarks.stock import export_stock
from examples.digits.train import machine
from export.passes.graph import build_graph
from export.tracing.pixels import ArtifactInput
from export.write.describe import describe_graph
from export.write.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source

NAMES = ("vit_small_patch16_224", "vit_small_patch16_224_irpe", "swin_tiny_patch4_window7_224")
BATCHES = (1, 8)
MANY = Batch(min=1, max=32)
OPSET = 20


def main() -> int:
    """Print one row for each network and batch size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bake", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--runs", type=int, default=30, help="runs per graph and batch size; default: 30")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}, {options.threads} threads\n")
    print("| network | nodes, stock | nodes, baked | batch | stock, ms | baked, ms | stock / baked |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in options.names:
        loaded = load_source(f"posbake:{name}", RandomWeights(0), Overrides())
        example, network = torch.randn(2, 3, *loaded.image_size), ArtifactInput(loaded.network, None)
        graphs = (
            export_stock(loaded.network, example, MANY, OPSET),
            build_graph(network, example, MANY, OPSET).model,
        )
        nodes = [describe_graph(graph).nodes for graph in graphs]
        sessions = [open_session(graph, options.threads) for graph in graphs]
        for batch in BATCHES:
            image = np.random.default_rng(0).normal(size=(batch, 3, *loaded.image_size)).astype(np.float32)
            stock, ours = interleaved_medians(sessions, image, options.runs)
            print(f"| `{name}` | {nodes[0]} | {nodes[1]} | {batch} | {stock:.1f} | {ours:.1f} | {stock / ours:.2f} |")
    return 0


def open_session(graph: ir.Model, threads: int) -> ort.InferenceSession:
    """Return a CPU session."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_graph(graph, path)
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def interleaved_medians(sessions: list[ort.InferenceSession], image: NDArray[np.float32], runs: int) -> list[float]:
    """Return each session's median time in ms over `runs` interleaved runs, after two warm-up runs."""
    times: list[list[float]] = [[] for _ in sessions]
    for run in range(runs + 2):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, {"image": image})
            if run >= 2:
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    sys.exit(main())
