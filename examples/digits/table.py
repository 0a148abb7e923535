"""`python -m examples.digits.table`: measure every shipped variant, and write the table into README.md.

Accuracy is measured on the test split, unchanged and shifted by 1 and 2 source pixels (4 and 8 of 32), as the mean over
shifts up, down, left and right. Times are medians in ONNX Runtime at batch 1 on two threads, interleaved.
"""

import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort
from safetensors import safe_open
from torch import nn

from artifact import Preprocess
from examples.digits.data import Pixels, Split, load_split
from examples.digits.train import CHECKPOINTS, CONFIGS, HERE, machine, predict
from export.pipeline import ExportRequest, export_onnx
from models.sources import Checkpoint, Loaded, Overrides, load_source

README = HERE / "README.md"
BEGIN, END = "<!-- table: written by examples/digits/table.py -->", "<!-- end of table -->"
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
SOURCE_PIXEL = 4  # 8 pixels are scaled to 32
PAPER = 255
ROUNDS = 300


def main() -> int:
    """Measure all variants and write the table."""
    variants = sorted(file.stem for file in CHECKPOINTS.glob("*.safetensors"))
    milliseconds = measure_onnx(variants)
    _, test = load_split()
    rows = [row(variant, load(variant), test, milliseconds[variant]) for variant in variants]
    write_table(rows)
    return 0


def load(variant: str) -> Loaded:
    """Load a shipped variant with its trained weights."""
    checkpoint = Checkpoint(CHECKPOINTS / f"{variant}.safetensors")
    return load_source(f"posbake:{CONFIGS / variant}.json", checkpoint, Overrides())


def row(variant: str, loaded: Loaded, test: Split, milliseconds: float) -> str:
    """Return one line of the table."""
    with safe_open(CHECKPOINTS / f"{variant}.safetensors", framework="pt") as file:
        training = json.loads(file.metadata()["training"])
    assert loaded.accuracy is not None
    shifted = [shifted_accuracy(loaded.network, test, loaded.preprocess, distance) for distance in (1, 2)]
    return (
        f"| `{variant}` | {loaded.accuracy.top1:.1%} | {shifted[0]:.1%} | {shifted[1]:.1%} "
        f"| {training['parameters']:,} | {milliseconds:.2f} | {training['seconds']:.0f} |"
    )


def shifted_accuracy(network: nn.Module, test: Split, preprocess: Preprocess, distance: int) -> float:
    """Return the mean top-1 over images shifted in four directions by `distance` source pixels."""
    right = [
        predict(network, Split(shift(test.images, dy * distance, dx * distance), test.labels), preprocess).numpy()
        == test.labels
        for dy, dx in DIRECTIONS
    ]
    return float(np.mean(right))


def shift(images: Pixels, down: int, across: int) -> Pixels:
    """Shift images [count, height, width, 3] by source pixels, filling with white paper."""
    moved = np.roll(images, (down * SOURCE_PIXEL, across * SOURCE_PIXEL), axis=(1, 2))
    for axis, by in ((1, down * SOURCE_PIXEL), (2, across * SOURCE_PIXEL)):
        edge = slice(0, by) if by > 0 else slice(images.shape[axis] + by, None) if by < 0 else slice(0, 0)
        moved[(slice(None),) * axis + (edge,)] = PAPER
    return moved


def measure_onnx(variants: list[str]) -> dict[str, float]:
    """Return each exported variant's median time in ms."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for variant in variants:
            checkpoint = Checkpoint(CHECKPOINTS / f"{variant}.safetensors")
            exported = export_onnx(ExportRequest(f"posbake:{CONFIGS / variant}.json", checkpoint, Path(folder)))
            graph = exported.path / "model.onnx"
            sessions[variant] = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = load_split()[1].images[:1]
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(ROUNDS):
        for variant, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"image": image})
            times[variant].append(1000 * (time.perf_counter() - start))
    return {variant: statistics.median(taken) for variant, taken in times.items()}


def write_table(rows: list[str]) -> None:
    """Write the rows between the marks of README.md."""
    header = [
        "| variant | accuracy | shifted by 1 | shifted by 2 | parameters | ONNX, ms | training, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    measured = f"\nMeasured {datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}."
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    text = "\n".join([BEGIN, *header, *rows, measured, END])
    README.write_text(before + text + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
