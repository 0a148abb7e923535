"""`python -m benchmarks.resizing`: speed of the SIMD resizer, and its pixel difference from Pillow.

Runs are interleaved; figures are medians on one thread. The images are blurred noise with grain, as in
`benchmarks.serving`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.serving_inputs import blurred_noise
from examples.digits.train import machine
from imaging.resizers import find_resizer

CASES = [((500, 375), 248, 224), ((375, 500), 248, 224), ((1920, 1080), 248, 224), ((4000, 3000), 248, 224)]
RUNS = 60


def main() -> None:
    """Print a row for each size and filter."""
    pillow, simd = find_resizer("pillow"), find_resizer("simd")
    print(f"{datetime.now(UTC).date()}, {machine()}, one thread, medians of {RUNS}\n")
    print("| image | filter | Pillow, ms | SIMD, ms | × | values that differ, % | max difference |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (size, short, side), filter_ in ((case, kind) for case in CASES for kind in ("BILINEAR", "BICUBIC")):
        image, kind = Image.fromarray(blurred_noise(np.random.default_rng(0), size)), Image.Resampling[filter_]
        scale = short / min(size)
        to = (int(size[0] * scale), int(size[1] * scale))
        ways = [partial(way, image, to, (side, side), kind) for way in (pillow, simd)]
        slow, fast = interleaved(ways)
        difference = np.abs(ways[0]().astype(int) - ways[1]())
        share, most = 100 * (difference > 0).mean(), difference.max()
        sizes = f"{size[0]}×{size[1]} by {to[0]}×{to[1]} to {side}×{side}"
        print(f"| {sizes} | {filter_.lower()} | {slow:.2f} | {fast:.2f} | {slow / fast:.1f} | {share:.2f} | {most} |")


def interleaved(ways: Sequence[Callable[[], np.ndarray]]) -> list[float]:
    """Return the median time of each function in ms, interleaved."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(RUNS):
        for way, found in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            found.append(1000 * (time.perf_counter() - start))
    return [statistics.median(found) for found in times]


if __name__ == "__main__":
    main()
