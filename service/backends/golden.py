"""The golden check: a backend must reproduce the network's logits of an artifact's golden file before it serves."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, GoldenInputs, limit_for
from service.backends.base import Backend
from service.backends.running import check_batch, run
from service.errors import GoldenError
from service.inputs.preprocess import Tensor, normalise


@dataclass(frozen=True)
class GoldenCheck:
    """A golden check that was passed.

    Attributes:
        precision: that the backend computes in.
        images: of the golden file.
        error: the largest of all runs, over the largest logit.
        limit: on the error, for this precision.
        seconds: of the first run, at batch 1.
    """

    precision: str
    images: int
    error: float
    limit: float
    seconds: float


def check(
    artifact: Artifact, golden: GoldenInputs, backend: Backend, precision: str, largest_batch: int
) -> GoldenCheck:
    """Run the golden images at batch 1 and at the largest batch, and compare the logits.

    Runs take turns between all threads and the calling thread alone where the backend distinguishes them; there are
    enough at each size for both.

    Raises:
        GoldenError: an error is above the limit for `precision`.
        GoldenFileError: there is no limit for `precision`.
        GraphError: the logits have another shape, or cannot be computed.
    """
    limit = limit_for(artifact.manifest, precision)
    ways = (True, False) if backend.on_cores else (True,)
    seconds: list[float] = []
    errors: list[float] = []
    for size in sorted({1, largest_batch}):
        check_batch(artifact.manifest, size)
        batches = golden.batches(size)
        for number in range(max(len(batches), len(ways))):
            chosen = batches[number % len(batches)]
            images = _inputs(artifact, golden, chosen)
            start = time.perf_counter()
            logits = run(artifact, backend, images, spread=ways[number % len(ways)])
            seconds.append(time.perf_counter() - start)
            errors.append(golden.error(chosen, logits.tolist()))
        if max(errors) > limit:
            raise GoldenError(
                f"its logits of the golden images are off by {max(errors):.1e} of the largest logit at batch {size}, "
                f"the limit is {limit:.1e} for {precision} on {backend.name}: the graph, or this runtime, does not "
                "compute what was exported; export it again, or choose another --backend or --device"
            )
    return GoldenCheck(precision, len(golden), max(errors), limit, seconds[0])


def _inputs(artifact: Artifact, golden: GoldenInputs, chosen: list[int]) -> Tensor:
    """Return golden images as the graph takes them, uint8 [B, H, W, 3] or float32 [B, 3, H, W]."""
    pixels: NDArray[np.uint8] = np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape)[chosen]
    manifest = artifact.manifest
    return pixels if manifest.input.dtype == "uint8" else normalise(pixels, manifest.preprocess)
