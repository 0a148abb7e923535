"""Golden check: a backend must reproduce the logits of an artifact's golden file before it serves."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, GoldenInputs, limit_for
from imaging.preprocess import Tensor, normalise
from service.backends.base import Backend
from service.backends.running import check_batch, run
from service.problems.errors import GoldenError


@dataclass(frozen=True)
class GoldenCheck:
    """Result of a passed golden check.

    Attributes:
        precision: precision of the backend.
        images: number of golden images.
        error: largest error of all runs over the largest logit.
        limit: limit on the error for this precision.
        seconds: time of the first run, at batch 1.
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

    Raises:
        GoldenError: an error is above the limit for `precision`.
        GoldenFileError: there is no limit for `precision`.
        GraphError: the logits have the wrong shape, or cannot be computed.
    """
    limit = limit_for(artifact.manifest, _lowest(precision))
    check_batch(artifact.manifest, largest_batch)
    seconds: list[float] = []
    errors: list[tuple[float, int]] = []
    for chosen, spread in _runs(golden, largest_batch, backend):
        images = golden_inputs(artifact, golden, chosen)
        start = time.perf_counter()
        logits = run(artifact, backend, images, spread=spread)
        seconds.append(time.perf_counter() - start)
        errors.append((golden.error(chosen, logits.tolist()), len(chosen)))
    error, _ = max(errors)
    if error > limit:
        batch = min(size for found, size in errors if found > limit)
        raise GoldenError(
            f"its logits of the golden images are off by {error:.1e} of the largest logit from batch {batch} on, the "
            f"limit is {limit:.1e} for {precision} on {backend.name}: the graph or this runtime does not reproduce "
            "the exported network; export it again, or choose another --backend or --device"
        )
    return GoldenCheck(precision, len(golden), error, limit, seconds[0])


def _lowest(running: str) -> str:
    """Return the precision that determines the limit: for an int8 artifact, that of the rest if it is lowered."""
    quantised, _, rest = running.rpartition("+")
    return quantised if rest == "fp32" and quantised else rest


def _runs(golden: GoldenInputs, largest_batch: int, backend: Backend) -> list[tuple[list[int], bool]]:
    """Return the images of each run, and whether it is spread: the minimum that covers every way of running.

    Each image runs alone, and in a batch of the largest size, spread. If runs may also be on one thread, the last image
    and a batch of all images run on one thread, without a warm-up at the largest batch: a first run at a larger batch
    takes no longer than a later one (measured with ONNX Runtime and Swin-T). A backend that computes the images of a
    batch separately runs all of them in one batch, and one image in each other way.
    """
    singles = golden.batches(1)
    if not backend.batched:
        return [(singles[0], True), (singles[-1], False), *((chosen, True) for chosen in golden.batches(len(golden)))]
    together = golden.batches(largest_batch) if largest_batch > 1 else []
    if not backend.on_cores:
        return [(chosen, True) for chosen in (*singles, *together)]
    alone = [singles[-1], *golden.batches(min(largest_batch, len(golden)))[:1]]
    return [*((chosen, True) for chosen in (*singles[:-1], *together)), *((chosen, False) for chosen in alone)]


def golden_inputs(artifact: Artifact, golden: GoldenInputs, chosen: Sequence[int]) -> Tensor:
    """Return golden images as an input of the graph, uint8 [B, H, W, 3] or float32 [B, 3, H, W]."""
    pixels: NDArray[np.uint8] = np.frombuffer(golden.pixels, np.uint8).reshape(golden.shape)[list(chosen)]
    manifest = artifact.manifest
    return pixels if manifest.input.dtype == "uint8" else normalise(pixels, manifest.preprocess)
