"""First runs: they allocate and are slow, so they come before the first request."""

import time
from itertools import product

import numpy as np

from artifact import Artifact, Manifest
from service.backends.base import Backend
from service.errors import GraphError
from service.inputs.preprocess import Tensor


def blank(manifest: Manifest, images: int) -> Tensor:
    """Return an input of zeros, [images, H, W, 3] or [images, 3, H, W]."""
    tensor = manifest.input
    image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
    shape = (images, *image)
    return np.zeros(shape, np.uint8) if tensor.dtype == "uint8" else np.zeros(shape, np.float32)


def warm(artifact: Artifact, backend: Backend, largest_batch: int) -> float:
    """Run at batch 1 and at the largest, see that the logits have their shape; return seconds of the first, at batch 1.

    Raises:
        GraphError: they do not, or cannot be computed.
    """
    seconds: list[float] = []
    for images, spread in product(sorted({1, largest_batch}), (True, False) if backend.on_cores else (True,)):
        start = time.perf_counter()
        logits = backend.run(blank(artifact.manifest, images), spread=spread)
        seconds.append(time.perf_counter() - start)
        expected = (images, artifact.manifest.output.classes)
        if logits.shape != expected:
            raise GraphError(f"its logits have shape {logits.shape}, expected {expected}; export it again")
    return seconds[0]
