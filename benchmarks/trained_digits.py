"""`python -m benchmarks.trained_digits`: top-1 of the digits variants in int8 and in float32, on each backend.

The second evaluation of int8 beside benchmarks/trained.py: small trained networks with every encoding, calibrated on
128 training images and evaluated on the 360 held-out images.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from artifact import read_artifact
from benchmarks.trained import BACKENDS, open_backend
from examples.digits.data import Split, load_split
from examples.digits.train import machine
from export.to_onnx import main as export

DIGITS = Path(__file__).resolve().parents[1] / "examples/digits"
VARIANTS = sorted(file.stem for file in (DIGITS / "configs").glob("*.json"))
CALIBRATION = 128


def main() -> int:
    """Export each variant in both precisions, run them, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained_digits", description=__doc__)
    parser.add_argument("variants", nargs="*", default=VARIANTS, help="default: all")
    options = parser.parse_args()
    training, test = load_split()
    print(f"{datetime.now(UTC).date()}, {machine()}, {', '.join(f'{b} {version(b)}' for b in BACKENDS)}\n")
    print("| variant | fp32, correct of 360 | int8, ONNX Runtime | int8, OpenVINO | cosine, mean | float32 layers |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scans").mkdir()
        for number, image in enumerate(training.images[:CALIBRATION]):
            Image.fromarray(image).save(folder / f"scans/{number:04}.png")
        for variant in options.variants:
            print(_row(variant, folder, test), flush=True)
    return 0


def _row(variant: str, folder: Path, test: Split) -> str:
    single = _export(variant, folder, [])
    lowered = _export(variant, folder, ["--precision", "int8", "--calibration", str(folder / "scans")])
    manifest = read_artifact(lowered).manifest
    assert manifest.parity.cosine is not None
    counts = [_right(single, BACKENDS[0], test), *(_right(lowered, backend, test) for backend in BACKENDS)]
    kept = sum((manifest.graph.float32_nodes or {}).values())
    return f"| `{variant}` | {' | '.join(map(str, counts))} | {manifest.parity.cosine.mean:.5f} | {kept} |"


def _export(variant: str, folder: Path, more: Sequence[str]) -> Path:
    source = f"posbake:{DIGITS / 'configs' / variant}.json"
    checkpoint = DIGITS / "checkpoints" / f"{variant}.safetensors"
    if export([source, "--checkpoint", str(checkpoint), "--output", str(folder), "--quiet", *more]):
        raise SystemExit(f"the export of {variant} failed")
    return folder / "digits" / (f"{variant}-int8" if more else variant) / "1"


def _right(artifact: Path, name: str, test: Split) -> int:
    """Return the number of test images that a graph classifies correctly."""
    backend = open_backend(read_artifact(artifact), name)
    logits = [backend.run(test.images[start : start + 30]) for start in range(0, len(test.images), 30)]
    return int((np.concatenate(logits).argmax(axis=1) == test.labels).sum())


if __name__ == "__main__":
    sys.exit(main())
