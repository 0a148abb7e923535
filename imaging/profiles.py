"""ICC colour profiles: ignored, or used to convert an image to sRGB.

A profile that cannot be read, or that does not fit the image's colours, is ignored, as in browsers.
"""

import io
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageCms

from imaging.formats.colours import stripes

Profiles = Literal["ignore", "convert"]
"""Handling of a file's colour profile: ignored, as in torchvision, or converted to sRGB."""

_MAX_BYTES = 4 * 2**20
_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image in L, RGB or CMYK to sRGB with perceptual intent, some rows at a time."""
    transform = _transform(profile, image.mode) if len(profile) <= _MAX_BYTES else None
    if transform is None:
        return image
    converted = image if image.mode == "RGB" else Image.new("RGB", image.size, None)
    for first, end in stripes(*image.size):
        rows = image.crop((0, first, image.width, end))
        converted.paste(transform.apply(rows), (0, first))
    return converted


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the colour transform to sRGB. It takes milliseconds to build, and images of a camera share it."""
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space
        if space != _SPACES[mode]:
            return None
        return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
