"""Result of reading a header: size, memory, orientation, profile, and a function that decodes the pixels."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

MAX_SIDE = 65_535
"""Maximum number of pixels of a side, JPEG's limit. Resizers store coefficients for every pixel of a side."""


@dataclass(frozen=True)
class Picture:
    """Image with its header read, but no pixels decoded.

    Attributes:
        width, height: stored size in pixels.
        bytes_per_pixel: peak memory of decoding, without the file.
        load: decodes and returns an opaque image, blended over white, in mode L, RGB or CMYK. May raise any exception.
        load_scaled: like `load`, with both sides divided by 1, 2, 4 or 8; None if the format does not support it.
        orientation: EXIF orientation, 1 to 8.
        profile: returns the ICC profile, decompressed if necessary, or None.
    """

    width: int
    height: int
    bytes_per_pixel: int
    load: Callable[[], Image.Image]
    orientation: int = 1
    profile: Callable[[], bytes | None] = lambda: None
    load_scaled: Callable[[int], Image.Image] | None = None
