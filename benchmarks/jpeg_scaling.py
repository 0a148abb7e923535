"""`python -m benchmarks.jpeg_scaling`: speed-up of `JPEG_SCALING=auto` on large photographs, and its pixel error.

The images are scikit-learn's two photographs, enlarged and re-encoded; preprocessing resizes to 248 and crops to
224×224, bicubic. Both settings are interleaved on one thread; figures are medians of CPU time. Differences are those
of the network's uint8 input.
"""

import io
import statistics
import time
from datetime import UTC, datetime

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from artifact import Preprocess
from examples.digits.train import machine
from imaging.preprocess import Reading
from imaging.resizers import find_resizer

SIZES = ((1920, 1280), (4032, 3024), (4240, 2829))
STEPS = Preprocess(resize=248, crop=(224, 224), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
RUNS = 21


def main() -> None:
    """Print a row for each photograph, size and chroma subsampling."""
    resize = find_resizer("auto")
    ways = [Reading(50_000_000, resize), Reading(50_000_000, resize, jpeg_scaling=True)]
    print(f"{datetime.now(UTC).date()}, {machine()}, one thread, medians of CPU time of {RUNS}\n")
    print("| photograph | decoded to | exact, ms | auto, ms | × | pixel difference, mean | 99th percentile | max |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    photographs = dict(zip(("temple", "flower"), load_sample_images().images, strict=True))
    for name, size, subsampling in ((n, s, k) for n in photographs for s in SIZES for k in ("4:4:4", "4:2:0")):
        buffer = io.BytesIO()
        enlarged = Image.fromarray(photographs[name]).resize(size, Image.Resampling.LANCZOS)
        enlarged.save(buffer, "JPEG", quality=90, subsampling=subsampling)
        data = buffer.getvalue()
        times: list[list[float]] = [[], []]
        for _ in range(RUNS):
            for way, taken in zip(ways, times, strict=True):
                start = time.thread_time()
                way.pixels(way.decode(data, [STEPS]), STEPS)
                taken.append(1000 * (time.thread_time() - start))
        exact, auto = map(statistics.median, times)
        images = [way.decode(data, [STEPS]) for way in ways]
        found = [way.pixels(image, STEPS).astype(int) for way, image in zip(ways, images, strict=True)]
        off = np.abs(found[0] - found[1])
        print(
            f"| {name}, {size[0]}×{size[1]}, {subsampling} | {images[1].width}×{images[1].height} | {exact:.1f} | "
            f"{auto:.1f} | {exact / auto:.1f} | {off.mean():.2f} | {np.percentile(off, 99):.0f} | {off.max()} |"
        )


if __name__ == "__main__":
    main()
