"""`python -m benchmarks.jpeg_decoders`: CPU time and pixels of full-size JPEG decoders compared with the service's.

    pip install simplejpeg imagecodecs opencv-python-headless pyvips pyvips-binary

The image is a photograph of scikit-learn, enlarged and re-encoded with 4:2:0. All decoders use libjpeg-turbo on one
thread. The service's is timed with Pillow's image memory kept between images, as in the service, and without.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import cv2
import imagecodecs
import numpy as np
import pyvips
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, _imaging, features
from sklearn.datasets import load_sample_images

from artifact import Preprocess
from examples.digits.train import machine
from imaging.decode import KEPT_BLOCKS
from imaging.preprocess import Reading
from imaging.resizers import find_resizer

SIZES = {(500, 375): 41, (1920, 1280): 21, (4032, 3024): 11}
"""Number of decodes by image size."""
STEPS = Preprocess(resize=248, crop=(224, 224), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))

Pixels = NDArray[np.uint8]


def main() -> int:
    """Print the tables."""
    cv2.setNumThreads(1)
    reading = Reading(50_000_000, find_resizer("auto"))

    def decoded(data: bytes) -> Image.Image:
        return reading.decode(data, [STEPS])

    def resized(data: bytes) -> Pixels:
        return reading.pixels(decoded(data), STEPS)

    def into_pillow(data: bytes) -> Pixels:
        return reading.pixels(Image.fromarray(_simplejpeg(data)), STEPS)

    ways: dict[str, tuple[Callable[[bytes], object], int]] = {
        "service: decoded, mapped anew": (decoded, 0),
        "service: decoded": (decoded, KEPT_BLOCKS),
        "simplejpeg": (_simplejpeg, 0),
        "imagecodecs": (imagecodecs.jpeg8_decode, 0),
        "OpenCV": (_opencv, 0),
        "pyvips": (_pyvips, 0),
        "service: decoded and resized, mapped anew": (resized, 0),
        "service: decoded and resized": (resized, KEPT_BLOCKS),
        "simplejpeg, resized by the service": (into_pillow, KEPT_BLOCKS),
    }
    print(f"{datetime.now(UTC).date()}, {machine()}, Pillow with libjpeg-turbo {features.version('libjpeg_turbo')}\n")
    print("| CPU ms, median | " + " | ".join(f"{width}×{height}" for width, height in SIZES) + " | pixels |")
    print("| --- |" + " ---: |" * len(SIZES) + " --- |")
    cells: dict[str, list[str]] = {name: [] for name in ways}
    equal = dict.fromkeys(ways, True)
    for size, runs in SIZES.items():
        file = _file(size)
        expected = {"decoded": np.asarray(decoded(file)), "resized": resized(file)}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, (way, blocks) in ways.items():
                _imaging.set_blocks_max(blocks)
                found = way(file)  # warm-up: the first decode fills or empties Pillow's kept blocks
                start = time.process_time()
                found = way(file)
                times[name].append(1000 * (time.process_time() - start))
                equal[name] &= np.array_equal(
                    np.asarray(found), expected["resized" if "resized" in name else "decoded"]
                )
        for name, taken in times.items():
            cells[name].append(f"{statistics.median(taken):.1f}")
    for name, row in cells.items():
        print(f"| {name} | {' | '.join(row)} | {'equal' if equal[name] else 'differ'} |")
    return 0


def _file(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    photograph = Image.fromarray(load_sample_images().images[0])
    photograph.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    return buffer.getvalue()


def _simplejpeg(data: bytes) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    return pixels


def _opencv(data: bytes) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _pyvips(data: bytes) -> Pixels:
    pixels: Pixels = pyvips.Image.new_from_buffer(data, "", access="sequential").numpy()
    return pixels


if __name__ == "__main__":
    sys.exit(main())
