"""From an RGB image to the network's input, as the manifest says.

Sizes round as torchvision.transforms does, and resizing is antialiased by Pillow's filters, so a network sees what it
was trained on.
Shapes: H, W of the manifest's input.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Manifest, Preprocess
from service.errors import RefusalError, TooManyPixelsError
from service.inputs.decoding.picture import MAX_SIDE
from service.inputs.images import Profiles, Reserve, decode, unreserved
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
        reserve: takes the bytes that decoding holds from a budget; as `decode` calls it.
        profiles: what is done with a file's colour profile.
    """

    max_pixels: int
    resize: Resize
    reserve: Reserve = unreserved
    profiles: Profiles = "ignore"

    def decode(self, data: bytes) -> Image.Image:
        """Return the upright RGB image of a file; raises what `service.inputs.images.decode` does."""
        return decode(data, self.max_pixels, reserve=self.reserve, profiles=self.profiles)


def check_sizes(manifest: Manifest, max_pixels: int) -> None:
    """Check that no image would be resized or cut to more than `max_pixels`, whatever its shape.

    Raises:
        RefusalError: the manifest's `resize`, `crop` or input is larger, or has a side of more than MAX_SIDE.
    """
    steps = manifest.preprocess
    resize = (steps.resize, steps.resize) if isinstance(steps.resize, int) else steps.resize
    for name, size in (
        ("resize", resize),
        ("crop", steps.crop or (1, 1)),
        ("input", (manifest.input.height, manifest.input.width)),
    ):
        height, width = size
        if height * width > max_pixels or max(size) > MAX_SIDE:
            raise RefusalError(
                f"its {name} of {height}×{width} pixels is over the limit of {max_pixels} pixels, or of {MAX_SIDE} "
                "a side; export it with a smaller size, or raise --max-pixels"
            )


def preprocess(image: Image.Image, manifest: Manifest, reading: Reading) -> Tensor:
    """Return uint8 [1, H, W, 3] as decoded, or float32 [1, 3, H, W] normalised, whichever the input takes.

    Raises:
        TooManyPixelsError: the image is so long and thin that it cannot be resized within the pixels allowed.
    """
    steps = manifest.preprocess
    crop = None if steps.crop is None else (steps.crop[1], steps.crop[0])
    size = _resized(image, steps, reading.max_pixels)
    pixels = reading.resize(image, size, crop, RESAMPLING[steps.interpolation])[np.newaxis]
    if manifest.input.dtype == "uint8":
        return pixels
    return normalise(pixels, steps)


def normalise(pixels: NDArray[np.uint8], steps: Preprocess) -> NDArray[np.float32]:
    """Map uint8 [B, H, W, 3] to float32 [B, 3, H, W]: (pixel / 255 − mean) / std."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(triple, np.float32) for triple in (steps.mean, steps.std))
    normalised: NDArray[np.float32] = (scaled - mean) / std
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


def _resized(image: Image.Image, steps: Preprocess, max_pixels: int) -> tuple[int, int]:
    """Return the (width, height) that the image is resized to.

    Resizers keep coefficients for every pixel of a side, and rows of the new width between their passes: both are
    bounded here, for no limit of pixels bounds them.
    """
    remedy = "cut the longer side"
    if max(image.size) > MAX_SIDE:
        raise TooManyPixelsError(
            f"the image has {image.width}×{image.height} pixels, a side of {MAX_SIDE} is allowed; {remedy}",
            limit=MAX_SIDE,
        )
    width, height = size = steps.resized(*image.size)
    if isinstance(steps.resize, int) or steps.keep_aspect:
        how = f"become {min(size)}×{max(size)} when the shorter side is resized to {min(size)}"
    else:
        how = f"are resized to {width}×{height} by way of {width}×{image.height}"
    if width * max(height, image.height) > max_pixels:
        raise TooManyPixelsError(
            f"{image.width}×{image.height} pixels {how}, {max_pixels} pixels are allowed; {remedy}", limit=max_pixels
        )
    return size
