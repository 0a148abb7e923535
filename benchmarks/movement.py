"""`python -m benchmarks.movement [SOURCE …]`: what is left of data movement in networks that are traced as they are.

Counted are the nodes that only move data. With `--other DIR`, another checkout makes the same graphs, and both are
counted and run beside each other, in one process and in turns. Weights are random; the largest difference between the
logits of the two is shown.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch

from artifact import Batch
from examples.digits.train import machine
from export.graph import build_graph
from export.pixels import ArtifactInput
from export.saving import save_graph
from models.sources import Overrides, RandomWeights, load_source

SOURCES = (
    "timm:swin_tiny_patch4_window7_224",
    "python:benchmarks.zoo_networks:swin",
    "python:benchmarks.zoo_networks:swinv2",
    "timm:swinv2_cr_tiny_224",
    "timm:maxvit_tiny_tf_224",
    "timm:maxvit_rmlp_pico_rw_256",
    "torchvision:maxvit_t",
    "timm:gcvit_xxtiny",
    "timm:coatnet_0_rw_224",
    "timm:coatnet_rmlp_nano_rw_224",
    "timm:vit_small_patch16_224",
)
MOVEMENT = frozenset(
    {"Concat", "DepthToSpace", "Flatten", "Gather", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
MANY = Batch(min=1, max=32)
OPSET = 20
HERE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print one row for each network and batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.movement", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES, help="default: windowed networks, and ViT-S")
    parser.add_argument("--other", type=Path, help="root of another checkout; this one is compared with it")
    parser.add_argument("--runs", type=int, default=0, help="of each graph; 0 (default): none are timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=0, help="0 (default): as ONNX Runtime chooses")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build is not None:
        build(options.sources[0], options.build)
        return 0
    print(f"{datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}, threads: {options.threads}\n")
    print("| network | nodes | movement | batch | ms | CPU ms | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    roots = [HERE] if options.other is None else [options.other.resolve(), HERE]
    for source in options.sources:
        with tempfile.TemporaryDirectory() as folder:
            files = [_built(source, root, Path(folder) / str(number)) for number, root in enumerate(roots)]
            counts = [count(file) for file in files]
            nodes, moved = (" → ".join(str(pair[i]) for pair in counts) for i in range(2))
            if len(counts) > 1:
                moved += f" ({counts[1][1] / counts[0][1]:.2f}×)"
            rows = _timed(files, options) if options.runs else [" | | | "]
            for row in rows:
                print(f"| `{source}` | {nodes} | {moved} | {row} |", flush=True)
    return 0


def build(source: str, file: Path) -> None:
    """Write the graph of a network as its library has it, which takes normalised float32 images."""
    loaded = load_source(source, RandomWeights(0), Overrides(num_classes=1000))
    example = torch.zeros(2, 3, *loaded.image_size)
    save_graph(build_graph(ArtifactInput(loaded.network, None), example, MANY, OPSET).model, file)


def _built(source: str, root: Path, folder: Path) -> Path:
    """Return the graph that a checkout makes, in a process of its own."""
    folder.mkdir()
    file = folder / "model.onnx"
    command = [sys.executable, str(Path(__file__).resolve()), f"--build={file}", source]
    subprocess.run(command, check=True, cwd=root, env=os.environ | {"PYTHONPATH": str(root)})  # noqa: S603 -- this script
    return file


def count(file: Path) -> tuple[int, int]:
    """Return how many nodes a graph has, and how many of them only move data."""
    found = Counter(node.op_type for node in ir.load(file).graph)
    return found.total(), sum(number for operator, number in found.items() if operator in MOVEMENT)


def _timed(files: list[Path], options: argparse.Namespace) -> list[str]:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    sessions = [ort.InferenceSession(file, settings, providers=["CPUExecutionProvider"]) for file in files]
    rows = []
    for batch in options.batches:
        shape = [batch, *sessions[0].get_inputs()[0].shape[1:]]
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        logits = [np.asarray(session.run(None, {"image": image})[0]) for session in sessions]
        wall: list[list[float]] = [[] for _ in sessions]
        used: list[list[float]] = [[] for _ in sessions]
        for run in range(options.runs):
            for number in range(len(sessions)) if run % 2 else reversed(range(len(sessions))):
                start, before = time.perf_counter(), time.process_time()
                sessions[number].run(None, {"image": image})
                wall[number].append(1000 * (time.perf_counter() - start))
                used[number].append(1000 * (time.process_time() - before))
        difference = np.abs(logits[-1] - logits[0]).max() / np.abs(logits[0]).max()
        rows.append(f"{batch} | {_compared(wall)} | {_compared(used)} | {difference:.0e}")
    return rows


def _compared(times: list[list[float]]) -> str:
    medians = [median(taken) for taken in times]
    shown = " → ".join(f"{one:.1f}" for one in medians)
    return shown if len(medians) < 2 else f"{shown} ({medians[0] / medians[1]:.2f})"


if __name__ == "__main__":
    sys.exit(main())
