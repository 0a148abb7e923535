"""From an RGB image to the network's input, as the manifest says.

Sizes round as torchvision.transforms does, and resizing is antialiased by Pillow's filters, so a network sees what it
was trained on.
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
    """Settings for reading images, for all networks.

    Attributes:
        max_pixels: most that an image may have, as sent and after resizing.
        resize: what resizes it.
        reserve: takes the bytes that decoding holds from a budget; as `decode` calls it.
        profiles: what is done with a file's colour profile.
        jpeg_scaling: whether libjpeg may scale a JPEG down while decoding, to no less than twice what it is resized to.
    """

    max_pixels: int
    resize: Resize
    reserve: Reserve = unreserved
    profiles: Profiles = "ignore"
    jpeg_scaling: bool = False

    def decode(self, data: bytes, ways: Iterable[Preprocess]) -> Image.Image:
        """Return the upright RGB image of a file.

        Args:
            data: the file.
            ways: all that the image will be resized by.

        Raises:
            ImageError: as `imaging.decode.decode`; and whatever `reserve` raises.
        """

        def twice(width: int, height: int) -> tuple[int, int]:
            sizes = [steps.resized(width, height) for steps in ways]
            return 2 * max(width for width, _ in sizes), 2 * max(height for _, height in sizes)

        enough = twice if self.jpeg_scaling else None
        return decode(data, self.max_pixels, reserve=self.reserve, profiles=self.profiles, enough=enough)

    def pixels(self, image: Image.Image, steps: Preprocess) -> NDArray[np.uint8]:
        """Return the uint8 pixels [H, W, 3] of an RGB image, resized and cropped.

        Raises:
            TooManyPixelsError: the image is so long and thin that it cannot be resized within the pixels allowed.
        """
        crop = None if steps.crop is None else (steps.crop[1], steps.crop[0])
        resampling = Image.Resampling[steps.interpolation.upper()]
        return self.resize(image, _resized(image, steps, self.max_pixels), crop, resampling)


def preprocess(image: Image.Image, manifest: Manifest, reading: Reading) -> Tensor:
    """Return uint8 [1, H, W, 3] as decoded, or float32 [1, 3, H, W] normalised, whichever the input takes.

    Raises:
        TooManyPixelsError: as `Reading.pixels`.
    """
    steps = manifest.preprocess
    pixels = reading.pixels(image, steps)[np.newaxis]
    if manifest.input.dtype == "uint8":
        return pixels
    return normalise(pixels, steps)


def preprocessing_of(manifest: Manifest) -> str:
    """Return a digest of all that the input tensor depends on besides the image and the settings, in hexadecimal."""
    steps = manifest.preprocess
    scale = [] if manifest.input.dtype == "uint8" else [steps.mean, steps.std]  # uint8 is normalised inside the graph
    parts = [manifest.input.dtype, steps.resize, steps.keep_aspect, steps.crop, steps.interpolation, *scale]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def normalise(pixels: NDArray[np.uint8], steps: Preprocess) -> NDArray[np.float32]:
    """Map uint8 [B, H, W, 3] to float32 [B, 3, H, W]: (pixel / 255 − mean) / std."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(triple, np.float32) for triple in (steps.mean, steps.std))
    normalised: NDArray[np.float32] = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _resized(image: Image.Image, steps: Preprocess, max_pixels: int) -> tuple[int, int]:
    """Return the (width, height) that the image is resized to.

    Resizers keep rows of the new width between their passes, which are bounded here. They also keep coefficients for
    every pixel of a side, of which `decode` allows MAX_SIDE.
    """
    width, height = size = steps.resized(*image.size)
    if isinstance(steps.resize, int) or steps.keep_aspect:
        how = f"become {min(size)}×{max(size)} when the shorter side is resized to {min(size)}"
    else:
        how = f"are resized to {width}×{height} by way of {width}×{image.height}"
    if width * max(height, image.height) > max_pixels:
        raise TooManyPixelsError(
            f"{image.width}×{image.height} pixels {how}, {max_pixels} pixels are allowed; cut the longer side",
            limit=max_pixels,
        )
    return size
