"""From an RGB image to the network's input, as the manifest says.

Sizes round as torchvision.transforms does, and Pillow resizes antialiased, so a network sees what it was trained on.
Shapes: H, W of the manifest's input.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Manifest, Preprocess
from service.errors import TooManyPixelsError

Tensor = NDArray[np.uint8] | NDArray[np.float32]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess(image: Image.Image, manifest: Manifest, max_pixels: int) -> Tensor:
    """Return uint8 [1, H, W, 3] as decoded, or float32 [1, 3, H, W] normalised, whichever the input takes.

    Raises:
        TooManyPixelsError: the image is so long and thin that its shorter side cannot be resized within `max_pixels`.
    """
    steps = manifest.preprocess
    pixels = np.asarray(_crop(_resize(image, steps, max_pixels), steps))[np.newaxis]
    if manifest.input.dtype == "uint8":
        return pixels
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(triple, np.float32) for triple in (steps.mean, steps.std))
    normalised: NDArray[np.float32] = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _resize(image: Image.Image, steps: Preprocess, max_pixels: int) -> Image.Image:
    if isinstance(steps.resize, int):
        short, long = sorted(image.size)
        scaled = int(steps.resize * long / short)
        if steps.resize * scaled > max_pixels:
            raise TooManyPixelsError(
                f"{image.width}×{image.height} pixels become {steps.resize}×{scaled} when the shorter side is resized "
                f"to {steps.resize}, {max_pixels} pixels are allowed; cut the longer side",
                limit=max_pixels,
            )
        width, height = (steps.resize, scaled) if image.width <= image.height else (scaled, steps.resize)
    else:
        height, width = steps.resize
    if image.size == (width, height):
        return image
    return image.resize((width, height), RESAMPLING[steps.interpolation])


def _crop(image: Image.Image, steps: Preprocess) -> Image.Image:
    if steps.crop is None:
        return image
    height, width = steps.crop
    top = round((image.height - height) / 2.0)
    left = round((image.width - width) / 2.0)
    return image.crop((left, top, left + width, top + height))
