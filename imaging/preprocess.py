"""Preprocessing of an RGB image according to the manifest.

Sizes are rounded as in torchvision.transforms, and resizing is antialiased with Pillow's filters, as in training.
Shapes: H, W of the network's input.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Manifest, Preprocess
from imaging.decode import Reserve, decode, unreserved
from imaging.errors import TooManyPixelsError
from imaging.profiles import Profiles
from imaging.resizers import Resize

Tensor = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """Settings of image reading, common to all networks.

    Attributes:
        max_pixels: maximum number of pixels of an image, before and after resizing.
        resize: resizer.
        reserve: reserves the memory of decoding in a budget; see `decode`.
        profiles: handling of a file's colour profile.
        jpeg_scaling: whether libjpeg may scale a JPEG down while decoding, to no less than twice the target size.
    """

    max_pixels: int
    resize: Resize
    reserve: Reserve = unreserved
    profiles: Profiles = "ignore"
    jpeg_scaling: bool = False

    def decode(self, data: bytes, ways: Iterable[Preprocess]) -> Image.Image:
        """Decode the upright RGB image of a file.

        Args:
            data: the file.
            ways: the preprocessing of every network that will use the image.

        Raises:
            ImageError: as `imaging.decode.decode`; also any exception of `reserve`.
        """

        def twice(width: int, height: int) -> tuple[int, int]:
            sizes = [steps.resized(width, height) for steps in ways]
            return 2 * max(width for width, _ in sizes), 2 * max(height for _, height in sizes)

        enough = twice if self.jpeg_scaling else None
        return decode(data, self.max_pixels, reserve=self.reserve, profiles=self.profiles, enough=enough)

    def pixels(self, image: Image.Image, steps: Preprocess) -> NDArray[np.uint8]:
        """Resize and crop an RGB image to uint8 pixels [H, W, 3].

        Raises:
            TooManyPixelsError: the image is so elongated that the resized image exceeds the pixel limit.
        """
        crop = None if steps.crop is None else (steps.crop[1], steps.crop[0])
        resampling = Image.Resampling[steps.interpolation.upper()]
        return self.resize(image, _resized(image, steps, self.max_pixels), crop, resampling)


def preprocess(image: Image.Image, manifest: Manifest, reading: Reading) -> Tensor:
    """Return the input tensor: uint8 [1, H, W, 3] as decoded, or normalised float32 [1, 3, H, W].

    Raises:
        TooManyPixelsError: as `Reading.pixels`.
    """
    steps = manifest.preprocess
    pixels = reading.pixels(image, steps)[np.newaxis]
    if manifest.input.dtype == "uint8":
        return pixels
    return normalise(pixels, steps)


def preprocessing_of(manifest: Manifest) -> str:
    """Return a hexadecimal digest of the parts of a manifest that determine the input tensor."""
    steps = manifest.preprocess
    scale = [] if manifest.input.dtype == "uint8" else [steps.mean, steps.std]  # the graph normalises uint8 inputs
    parts = [manifest.input.dtype, steps.resize, steps.keep_aspect, steps.crop, steps.interpolation, *scale]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def normalise(pixels: NDArray[np.uint8], steps: Preprocess) -> NDArray[np.float32]:
    """Map uint8 [B, H, W, 3] to float32 [B, 3, H, W]: (pixel / 255 − mean) / std."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(triple, np.float32) for triple in (steps.mean, steps.std))
    normalised: NDArray[np.float32] = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _resized(image: Image.Image, steps: Preprocess, max_pixels: int) -> tuple[int, int]:
    """Return the (width, height) after resizing.

    The intermediate image between a resizer's passes is limited here. Resizers also store coefficients for every pixel
    of a side, which MAX_SIDE limits in `decode`.
    """
    width, height = size = steps.resized(*image.size)
    if isinstance(steps.resize, int) or steps.keep_aspect:
        how = f"become {min(size)}×{max(size)} when the shorter side is resized to {min(size)}"
    else:
        how = f"are resized to {width}×{height} via {width}×{image.height}"
    if width * max(height, image.height) > max_pixels:
        raise TooManyPixelsError(
            f"{image.width}×{image.height} pixels {how}, at most {max_pixels} pixels are allowed; crop the longer side",
            limit=max_pixels,
        )
    return size
