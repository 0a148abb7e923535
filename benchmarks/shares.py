"""`python -m benchmarks.shares GRAPH.onnx …`: shares of products and of data movement in a graph's time.

Times are by ONNX Runtime's profiler on one thread, for each node the minimum over the runs, because other programs only
add to it. `without movement` is the speed-up if movement nodes took no time, `products alone` if only matrix products
and convolutions did: upper bounds of the gain by rewriting.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.zoo_graphs import MOVEMENT
from examples.digits.train import machine

PRODUCTS = frozenset({"Attention", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul", "NhwcFusedConv"})
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}


def main() -> None:
    """Print a row for each graph and batch size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shares", description=__doc__)
    parser.add_argument("graphs", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}, one thread\n")
    print("| graph | batch | ms | products | movement | other | without movement | products alone |")
    print("| --- |" + " ---: |" * 7)
    for graph in options.graphs:
        for batch in options.batch:
            kinds = times(graph, batch, options.runs)
            total = sum(kinds.values())
            shares = " | ".join(f"{100 * kinds[kind] / total:.0f} %" for kind in ("products", "movement", "other"))
            bounds = f"{total / (total - kinds['movement']):.2f} | {total / kinds['products']:.2f}"
            print(f"| `{graph.parent.name}/{graph.name}` | {batch} | {total:.1f} | {shares} | {bounds} |", flush=True)


def times(graph: Path, batch: int, runs: int) -> dict[str, float]:
    """Return the ms of products, movement nodes and all others."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling = 1, True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (image,) = session.get_inputs()
        numbers = np.random.default_rng(0).integers(0, 256, (batch, *image.shape[1:]))
        for _ in range(runs):
            session.run(None, {image.name: numbers.astype(TYPES[image.type])})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    shortest: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))
    for event in events:
        if event["name"].endswith("_kernel_time"):
            node = event["name"], event["args"]["op_name"]
            shortest[node] = min(shortest[node], event["dur"] / 1000)
    kinds = dict.fromkeys(("products", "movement", "other"), 0.0)
    for (_, operator), milliseconds in shortest.items():
        kinds["products" if operator in PRODUCTS else "movement" if operator in MOVEMENT else "other"] += milliseconds
    return kinds


if __name__ == "__main__":
    main()
