"""`python -m benchmarks.jpeg_agreement`: effect of `JPEG_SCALING=auto` on predictions and pixels of photographs.

The network is that of benchmarks/trained.py in fp32, from its cache, at 112×112. The images are the photographs of
scikit-image and scikit-learn (whole and random crops) and held-out Fashion-MNIST images, enlarged to 3 or 12
megapixels, every other one with sensor noise, and re-encoded.
"""

import argparse
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import skimage
import sklearn
from numpy.typing import NDArray
from PIL import Image

from artifact import read_artifact
from benchmarks.trained import export_network, open_backend
from benchmarks.trained_backbone import NETWORK
from examples.digits.train import machine
from export.verify.parity import cosine
from imaging.preprocess import Reading
from imaging.resizers import find_resizer
from service.offline.statistics import wilson

LARGE, MIDDLE = (4032, 3024), (2016, 1512)
PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "ihc", "microaneurysms", "moon", "motorcycle_left", "motorcycle_right", "retina", "rocket"),
)
"""scikit-image's photographs; its other images are drawings and text."""
_NOISE = 6.0
"""Standard deviation on a scale of 0 to 255."""
_BATCH = 8

Pixels = NDArray[np.uint8]


@dataclass
class Row:
    """Results of one set of images, decoded at full size and with `auto`."""

    logits: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = field(default_factory=lambda: ([], []))
    off: list[float] = field(default_factory=list)
    most: int = 0
    milliseconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


def main() -> int:
    """Print a row for each set of images."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jpeg_agreement", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder given to benchmarks.trained as --cache")
    parser.add_argument("--large", type=int, default=5, help="12-megapixel images per photograph")
    parser.add_argument("--middle", type=int, default=40, help="3-megapixel images per photograph")
    parser.add_argument("--fashion", type=int, default=500, help="3-megapixel images of Fashion-MNIST")
    options = parser.parse_args()
    cache: Path = options.cache
    artifact = read_artifact(export_network(cache / f"{NETWORK}-fashion.safetensors", cache, "fp32").path)
    backend, steps = open_backend(artifact, "openvino"), artifact.manifest.preprocess
    resize = find_resizer("auto")
    ways = [Reading(50_000_000, resize), Reading(50_000_000, resize, jpeg_scaling=True)]
    photographs = list(_photographs())
    fashion = [np.asarray(Image.open(cache / f"held-out/{number:05}.png")) for number in range(options.fashion)]
    sets = {
        "photographs, 12 megapixels": (photographs * options.large, LARGE),
        "photographs, 3 megapixels": (photographs * options.middle, MIDDLE),
        "Fashion-MNIST, 3 megapixels": (fashion, MIDDLE),
    }
    print(f"{datetime.now(UTC).date()}, {machine()}, one thread, medians of CPU time\n")
    print(
        "| images | number | same class | 95 % interval | cosine of logits, mean | min | pixel difference, mean "
        "| max | exact, ms | auto, ms |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, (pictures, size) in sets.items():
        row, tensors = Row(), ([], [])  # type: tuple[Row, tuple[list[Pixels], list[Pixels]]]
        for number, file in enumerate(_files(pictures, size), 1):
            pixels = []
            for way, taken, waiting in zip(ways, row.milliseconds, tensors, strict=True):
                start = time.thread_time()
                pixels.append(way.pixels(way.decode(file, [steps]), steps))
                taken.append(1000 * (time.thread_time() - start))
                waiting.append(pixels[-1])
            off = np.abs(pixels[0].astype(int) - pixels[1])
            row.off.append(float(off.mean()))
            row.most = max(row.most, int(off.max()))
            if number % _BATCH == 0 or number == len(pictures):
                for waiting, logits in zip(tensors, row.logits, strict=True):
                    logits.extend(backend.run(np.stack(waiting)))
                    waiting.clear()
        print(f"| {name} | {_cells(row)} |", flush=True)
    return 0


def _cells(row: Row) -> str:
    exact, auto = (np.stack(logits) for logits in row.logits)
    same = exact.argmax(axis=1) == auto.argmax(axis=1)
    lowest, highest = wilson(int(same.sum()), len(same))
    near = cosine(exact, auto)
    times = " | ".join(f"{np.median(taken):.1f}" for taken in row.milliseconds)
    return (
        f"{len(same)} | {same.mean():.2%} | {lowest:.2%} to {highest:.2%} | {near.mean():.5f} | {near.min():.4f} | "
        f"{np.mean(row.off):.2f} | {row.most} | {times}"
    )


def _photographs() -> Iterator[Pixels]:
    """Yield the photographs: [H, W, 3], or [H, W] if grey."""
    folder = Path(skimage.__file__).parent / "data"
    for name in PHOTOGRAPHS:
        (file,) = [file for file in folder.glob(f"{name}.*") if file.suffix in {".png", ".jpg"}]
        image = Image.open(file)
        yield np.asarray(image if image.mode == "L" else image.convert("RGB"))
    for file in sorted((Path(sklearn.__file__).parent / "datasets/images").glob("*.jpg")):
        yield np.asarray(Image.open(file))


def _files(pictures: list[Pixels], size: tuple[int, int]) -> Iterator[bytes]:
    """Yield JPEG files of the images: the first of each whole, others cropped at random, every other one with noise."""
    random = np.random.default_rng(0)
    width, height = size
    noise = random.normal(0, _NOISE, (height, width, 3)).astype(np.int8)
    seen: set[int] = set()
    for number, pixels in enumerate(pictures):
        image = Image.fromarray(pixels).convert("RGB")
        if id(pixels) in seen:
            share = random.uniform(0.3, 1)
            cut = round(share * image.width), round(share * image.height)
            left, top = (int(random.integers(0, side - part + 1)) for side, part in zip(image.size, cut, strict=True))
            image = image.crop((left, top, left + cut[0], top + cut[1]))
        seen.add(id(pixels))
        values = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
        if number % 2:
            rolled = np.roll(noise, int(random.integers(height)), axis=0)
            values = np.clip(values.astype(np.int16) + rolled, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
        yield buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
