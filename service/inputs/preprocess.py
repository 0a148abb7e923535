"""From an RGB image to the network's input, as the manifest says.

Sizes round as torchvision.transforms does, and resizing is antialiased by Pillow's filters, so a network sees what it
was trained on.
Shapes: H, W of the manifest's input.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Manifest, Preprocess
from service.errors import TooManyPixelsError
from service.inputs.resizers import Resize

Tensor = NDArray[np.uint8] | NDArray[np.float32]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Reading:
    """How images are read, whatever the network.

    Attributes:
        max_pixels: most that an image may have, as sent and after resizing.
        resize: what resizes it.
        reserve: called with the peak bytes of a decode, as soon as its header is known, and open while it lasts;
            raises a ProblemError if there is no room for them. None reserves nothing.
    """

    max_pixels: int
    resize: Resize
    reserve: Callable[[int], AbstractContextManager[None]] | None = None


def preprocess(image: Image.Image, manifest: Manifest, reading: Reading) -> Tensor:
    """Return uint8 [1, H, W, 3] as decoded, or float32 [1, 3, H, W] normalised, whichever the input takes.

    Raises:
        TooManyPixelsError: the image is so long and thin that its shorter side cannot be resized within the pixels
            allowed.
    """
    steps = manifest.preprocess
    crop = None if steps.crop is None else (steps.crop[1], steps.crop[0])
    size = _resized(image, steps, reading.max_pixels)
    pixels = reading.resize(image, size, crop, RESAMPLING[steps.interpolation])[np.newaxis]
    if manifest.input.dtype == "uint8":
        return pixels
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(triple, np.float32) for triple in (steps.mean, steps.std))
    normalised: NDArray[np.float32] = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _resized(image: Image.Image, steps: Preprocess, max_pixels: int) -> tuple[int, int]:
    """Return the (width, height) that the image is resized to."""
    width, height = size = steps.resized(*image.size)
    if (isinstance(steps.resize, int) or steps.keep_aspect) and width * height > max_pixels:
        raise TooManyPixelsError(
            f"{image.width}×{image.height} pixels become {min(size)}×{max(size)} when the shorter side is resized "
            f"to {min(size)}, {max_pixels} pixels are allowed; cut the longer side",
            limit=max_pixels,
        )
    return size
