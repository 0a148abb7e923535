"""Resizers by name. A new resizer is a line in RESIZERS."""

import importlib
import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import ResizerError

logger = logging.getLogger(__name__)

Resize = Callable[[Image.Image, tuple[int, int], tuple[int, int] | None, Image.Resampling], NDArray[np.uint8]]
"""Maps an RGB image, its resized (width, height) and the (width, height) of the crop to uint8 [height, width, 3]."""

RESIZERS = {
    "simd": ("imaging.simd_resizing", "resize_and_crop_fast"),
    "pillow": ("imaging.pillow_resizing", "resize_and_crop"),
}
"""Module and function by name, in the order that `auto` tries; imported only if selected."""


def find_resizer(name: str) -> Resize:
    """Return the resizer of a name; `auto` is the first installed one. The choice is logged.

    Raises:
        ResizerError: the resizer is unknown or not installed.
    """
    if name != "auto" and name not in RESIZERS:
        raise ResizerError(f"resizer {name!r} is unknown; known: auto, {', '.join(RESIZERS)}")
    for candidate in RESIZERS if name == "auto" else [name]:
        module, function = RESIZERS[candidate]
        try:
            found: Resize = getattr(importlib.import_module(module), function)
        except ImportError as error:
            if name != "auto":
                raise ResizerError(
                    f"resizer {name} is not available: {error}; pip install cykooz-resizer, or choose pillow"
                ) from error
            logger.info("resizer %s is not available (%s); to use it, pip install cykooz-resizer", candidate, error)
        else:
            break
    logger.info("images are resized by %s", candidate)
    return found
