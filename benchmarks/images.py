"""`python -m benchmarks.images [CHECKOUT]`: time to decode and resize an image, compared with another checkout.

The checkouts run in separate processes on one thread, interleaved by file; figures are medians of CPU time. Without
another checkout, only the cost and effect of colour profile conversion are measured.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from benchmarks.serving_inputs import ROOT, blurred_noise
from examples.digits.train import machine
from imaging.decode import decode

RUNS = 41
PIXELS = 50_000_000
WORKER = """
import sys, time
from artifact import Preprocess
from imaging.preprocess import Reading
from imaging.resizers import find_resizer
reading = Reading(50_000_000, find_resizer("auto"))
steps = Preprocess(resize=248, crop=(224, 224), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
for line in sys.stdin:
    path, count = line.split()
    data = open(path, "rb").read()
    start = time.thread_time()
    for _ in range(int(count)):
        reading.pixels(reading.decode(data, [steps]), steps)
    print(1000 * (time.thread_time() - start) / int(count), flush=True)
"""
"""Decode each file on stdin `count` times and print the mean in ms; runs in either checkout."""


class Worker:
    """Worker process that runs in a checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", WORKER],
            cwd=checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, path: Path, count: int) -> float:
        """Return the CPU time of one image in ms."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path} {count}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def files() -> dict[str, bytes]:
    """Return typical image files by name."""
    chance = np.random.default_rng(0)
    small, large = (Image.fromarray(blurred_noise(chance, size)) for size in ((500, 375), (4000, 3000)))
    opaque = small.copy()
    opaque.putalpha(small.getchannel(0))
    return {
        "JPEG, 500×375": encoded(small, "JPEG", quality=90),
        "JPEG progressive, 500×375": encoded(small, "JPEG", quality=90, progressive=True),
        "JPEG, 4000×3000": encoded(large, "JPEG", quality=90),
        "PNG, 500×375": encoded(small, "PNG"),
        "PNG RGBA, 500×375": encoded(opaque, "PNG"),
        "PNG palette, 500×375": encoded(small.quantize(64), "PNG"),
        "PNG grey, 28×28": encoded(small.resize((28, 28)).convert("L"), "PNG"),
        "PNG, 4000×3000": encoded(large, "PNG", compress_level=1),
        "WebP, 500×375": encoded(small, "WEBP"),
        "TIFF LZW, 500×375": encoded(small, "TIFF", compression="tiff_lzw"),
    }


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def compare(other: Path) -> None:
    """Print a row for each file: ms in both checkouts, and the ratio."""
    workers = [Worker(other), Worker(ROOT)]
    print(f"| image | {other.name}, ms | here, ms | here / {other.name} |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, data) in enumerate(files().items()):
            path = Path(folder) / str(number)
            path.write_bytes(data)
            count = max(1, int(30 / max(worker.ask(path, 2) for worker in workers)))
            times = [[worker.ask(path, count) for worker in workers] for _ in range(RUNS)]
            before, here = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {name} | {before:.3f} | {here:.3f} | {here / before:.3f} |", flush=True)
    for worker in workers:
        worker.close()


def profiles() -> None:
    """Print cost and effect of converting a colour profile to sRGB."""

    def median(step: Callable[[], object]) -> float:
        times = []
        for _ in range(RUNS):
            start = time.thread_time()
            step()
            times.append(1000 * (time.thread_time() - start))
        return statistics.median(times)

    print("\n| image | ignored, ms | converted, ms | mean difference (0 to 255) |")
    print("| --- | ---: | ---: | ---: |")
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    for size in ((500, 375), (4000, 3000)):
        image = Image.fromarray(blurred_noise(np.random.default_rng(0), size))
        for name, profile in (("sRGB", made.tobytes()), ("wide gamut", wide_gamut())):
            data = encoded(image, "JPEG", quality=90, icc_profile=profile)
            ignore, convert = (partial(decode, data, PIXELS, profiles=how) for how in ("ignore", "convert"))
            moved = np.abs(np.asarray(ignore()).astype(int) - np.asarray(convert())).mean()
            label = f"{size[0]}×{size[1]}, {name}"
            print(f"| {label} | {median(ignore):.2f} | {median(convert):.2f} | {moved:.1f} |")


def wide_gamut() -> bytes:
    """Return an sRGB profile with the red primary of Adobe RGB."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(int.from_bytes(made[128:132], "big")):
        entry = 132 + 12 * index
        if bytes(made[entry : entry + 4]) == b"rXYZ":
            at = int.from_bytes(made[entry + 4 : entry + 8], "big") + 8
            made[at : at + 12] = b"".join(
                round(value * 65_536).to_bytes(4, "big") for value in (0.60974, 0.31111, 0.01947)
            )
    return bytes(made)


def main() -> None:
    """Print the tables."""
    print(f"{datetime.now(UTC).date()}, {machine()}, one thread, medians of {RUNS}\n")
    if len(sys.argv) > 1:
        compare(Path(sys.argv[1]).resolve())
    profiles()


if __name__ == "__main__":
    main()
