"""`python -m benchmarks.precision`: error and speed of float16, bfloat16 and int8 in ONNX Runtime on the CPU.

Weights are random and images synthetic, so cosines show the numerical error, not the accuracy of a trained network.
Runs are interleaved, because the machine's speed drifts; bfloat16 has no CPU kernels and is not timed.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from artifact import Precision
from benchmarks.bake import BATCHES, interleaved_medians
from examples.digits.train import machine
from export.pipeline import Exported, ExportRequest, export_onnx
from export.verify.sessions import cpu_session
from models.sources import RandomWeights

SOURCES = ("posbake:swin_tiny_patch4_window7_224", "torchvision:swin_v2_t", "posbake:vit_small_patch16_224_irpe")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16", "int8")
TIMED: tuple[Precision, ...] = ("fp32", "fp16", "int8")
PICTURES = 32


def main() -> int:
    """Print a table of errors and a table of times."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("sources", nargs="*", default=SOURCES, help=f"default: {' '.join(SOURCES)}")
    parser.add_argument("--runs", type=int, default=20, help="runs per graph and batch size; default: 20")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{datetime.now(UTC).date()}, {machine()}, ONNX Runtime {ort.__version__}, {options.threads} threads\n")
    losses, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        write_pictures(pictures)
        for source in options.sources:
            made = {each: export(source, each, Path(folder) / "artifacts", pictures) for each in PRECISIONS}
            losses += [_loss_row(source, exported) for exported in made.values()]
            sessions = [cpu_session(made[each].path / "model.onnx", options.threads) for each in TIMED]
            size = made["fp32"].manifest.input
            for batch in BATCHES:
                image = np.random.default_rng(0).integers(0, 256, (batch, size.height, size.width, 3), np.uint8)
                times.append(_time_row(source, batch, interleaved_medians(sessions, image, options.runs)))
    print(
        "| network | precision | size, MB | cosine, mean | cosine, min | max rel. error | same top-1 | conversion, s |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(losses))
    print("\n| network | batch | fp32, ms | fp16, ms | int8, ms | fp32 / fp16 | fp32 / int8 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(times))
    return 0


def export(source: str, precision: Precision, repository: Path, pictures: Path) -> Exported:
    """Export without limits of the error, which are for trained weights."""
    request = ExportRequest(source, RandomWeights(0), repository, precision=precision)
    if precision != "fp32":
        request = replace(request, calibration=pictures, min_cosine=0.0, min_agreement=0.0)
    return export_onnx(request)


def write_pictures(folder: Path) -> None:
    """Write images of smooth colour gradients with noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        blobs = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
        noisy = np.asarray(blobs).astype(np.int16) + rng.normal(0, 8, (256, 256, 3)).astype(np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")


def _loss_row(source: str, exported: Exported) -> str:
    manifest = exported.manifest
    parity, size = manifest.parity, manifest.files["model.onnx"].size / 1e6
    cosine = "– | –" if parity.cosine is None else f"{parity.cosine.mean:.6f} | {parity.cosine.min:.6f}"
    made = sum(exported.seconds.get(step, 0) for step in (manifest.precision, "compare"))
    return (
        f"| `{source}` | {manifest.precision} | {size:.1f} | {cosine} | {parity.max_rel_error:.1e} | "
        f"{parity.top1_agreement:.0%} | {made:.1f} |"
    )


def _time_row(source: str, batch: int, medians: list[float]) -> str:
    single, half, integer = medians
    return (
        f"| `{source}` | {batch} | {single:.1f} | {half:.1f} | {integer:.1f} | {single / half:.2f} | "
        f"{single / integer:.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
