"""Run of a backend before it serves, with checks of input size and output shape."""

from math import prod

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, Manifest
from imaging.preprocess import Tensor
from service.backends.base import Backend
from service.problems.errors import GraphError

_LARGEST_INPUT = 2**30
"""Maximum size of a batch in bytes: 8 images of 3344 x 3344 pixels in float32. More indicates a damaged manifest."""


def check_batch(manifest: Manifest, images: int) -> tuple[int, ...]:
    """Return the shape of a batch, [images, H, W, 3] or [images, 3, H, W].

    Raises:
        GraphError: the batch would take more than 1 GiB.
    """
    tensor = manifest.input
    image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
    shape = (images, *image)
    size = prod(shape) * np.dtype(tensor.dtype).itemsize
    if size > _LARGEST_INPUT:
        raise GraphError(
            f"a batch of {images} images of {tensor.height} x {tensor.width} pixels takes "
            f"{size:.1e} bytes, at most {_LARGEST_INPUT:.1e} are allowed; lower "
            "--max-batch, or export it for smaller images"
        )
    return shape


def run(artifact: Artifact, backend: Backend, images: Tensor, *, spread: bool) -> NDArray[np.float32]:
    """Return the logits of a batch.

    Raises:
        GraphError: the logits do not have the manifest's shape, or cannot be computed.
    """
    logits = backend.run(images, spread=spread)
    expected = (len(images), artifact.manifest.output.classes)
    if logits.shape != expected:
        raise GraphError(f"its logits have shape {logits.shape}, expected {expected}; export it again")
    return logits
