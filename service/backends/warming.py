"""Warm-up: slow first runs before the first request, combined with the golden check."""

import time
from dataclasses import dataclass
from itertools import product

import numpy as np

from artifact import Artifact, Manifest, read_golden
from imaging.preprocess import Tensor
from service.backends.base import Backend
from service.backends.golden import GoldenCheck, check, golden_inputs
from service.backends.running import check_batch, run
from service.problems.errors import GraphError


@dataclass(frozen=True)
class Warm:
    """Results of the warm-up.

    Attributes:
        seconds: time of the first run, at batch 1.
        golden: result of the golden check; None if the artifact has no golden file.
    """

    seconds: float
    golden: GoldenCheck | None


def warm(artifact: Artifact, backend: Backend, largest_batch: int) -> Warm:
    """Run at batch 1 and at the largest batch, and check the logits of the golden file, or of an image of zeros.

    Raises:
        GoldenFileError: the golden file is damaged, or has no limit for the backend's precision.
        GoldenError: the backend does not reproduce the golden file's logits.
        GraphError: the logits have the wrong shape, none of them is finite, or they cannot be computed.
        BackendUnavailableError: the device failed.
    """
    check_batch(artifact.manifest, largest_batch)
    backend.prepare(largest_batch)
    golden = read_golden(artifact)
    if golden is None:
        return Warm(_run_blanks(artifact, backend, largest_batch), None)
    found = check(artifact, golden, backend, backend.precision, largest_batch)
    return Warm(found.seconds, found)


def blank(manifest: Manifest, images: int) -> Tensor:
    """Return an input of zeros, [images, H, W, 3] or [images, 3, H, W].

    Raises:
        GraphError: the input would take more than 1 GiB.
    """
    return np.zeros(check_batch(manifest, images), np.dtype(manifest.input.dtype))


def check_images(artifact: Artifact) -> Tensor:
    """Return the golden images as an input of the graph, or an image of zeros and one of ones (255 in uint8).

    Raises:
        GoldenFileError: the golden file is damaged.
        GraphError: the images would take more than 1 GiB.
    """
    golden = read_golden(artifact)
    if golden is not None:
        return golden_inputs(artifact, golden, range(len(golden)))
    images = blank(artifact.manifest, 2)
    images[1] = 255 if images.dtype == np.uint8 else 1
    return images


def _run_blanks(artifact: Artifact, backend: Backend, largest_batch: int) -> float:
    """Run on zeros, which proves only that the graph runs, and return the time of the first run in s."""
    if not backend.batched:
        largest_batch = min(largest_batch, 2)
    seconds: list[float] = []
    for images, spread in product(sorted({1, largest_batch}), (True, False) if backend.on_cores else (True,)):
        start = time.perf_counter()
        logits = run(artifact, backend, blank(artifact.manifest, images), spread=spread)
        seconds.append(time.perf_counter() - start)
        if not np.isfinite(logits).any():  # single non-finite logits may be legitimate for an image of zeros
            raise GraphError(
                "all its logits of an image of zeros are NaN or infinite; look for such values in its weights, and "
                "export it again"
            )
    return seconds[0]
