"""First runs: they allocate and are slow, so they come before the first request."""

import time
from itertools import product
from math import prod

import numpy as np

from artifact import Artifact, Manifest
from imaging.preprocess import Tensor
from service.backends.base import Backend
from service.errors import GraphError

_LARGEST_INPUT = 2**30
"""Bytes of a batch: 8 images of 3344 x 3344 pixels in float32. What is more is a damaged manifest, or memory ends."""


def blank(manifest: Manifest, images: int) -> Tensor:
    """Return an input of zeros, [images, H, W, 3] or [images, 3, H, W].

    Raises:
        GraphError: it would take more than a GiB.
    """
    tensor = manifest.input
    image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
    shape, dtype = (images, *image), np.dtype(tensor.dtype)
    if prod(shape) * dtype.itemsize > _LARGEST_INPUT:
        raise GraphError(
            f"a batch of {images} images of {tensor.height} x {tensor.width} pixels takes "
            f"{prod(shape) * dtype.itemsize:.1e} bytes, at most {_LARGEST_INPUT:.1e} are allowed; lower "
            "--max-batch, or export it for smaller images"
        )
    return np.zeros(shape, dtype)


def warm(artifact: Artifact, backend: Backend, largest_batch: int) -> float:
    """Run at batch 1 and at the largest, check shape and values; return seconds of the first run, at batch 1.

    Raises:
        GraphError: the logits have another shape, none of them is finite, or they cannot be computed.
    """
    seconds: list[float] = []
    for images, spread in product(sorted({1, largest_batch}), (True, False) if backend.on_cores else (True,)):
        start = time.perf_counter()
        logits = backend.run(blank(artifact.manifest, images), spread=spread)
        seconds.append(time.perf_counter() - start)
        expected = (images, artifact.manifest.output.classes)
        if logits.shape != expected:
            raise GraphError(f"its logits have shape {logits.shape}, expected {expected}; export it again")
        if not np.isfinite(logits).any():  # single ones may be a network's own limits at an image of zeros
            raise GraphError(
                "all its logits of an image of zeros are NaN or infinite; look for such values in its weights, and "
                "export it again"
            )
    return seconds[0]
