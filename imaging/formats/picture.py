"""The result of reading a header: size, memory, orientation, profile, and a function that decodes the pixels."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

MAX_SIDE = 65_535
"""Most pixels of a side: JPEG's own limit. Resizers keep coefficients for every pixel of a side."""


@dataclass(frozen=True)
class Picture:
    """One picture whose header was read, and no pixel decoded.

    Attributes:
        width, height: in pixels, as stored.
        bytes_per_pixel: most that decoding holds at once, the file itself not counted.
        load: decodes; returns an opaque image, already over white, in mode L, RGB or CMYK. May raise anything.
        load_scaled: the same with both sides divided by 1, 2, 4 or 8; None if the format has no such decoder.
        orientation: EXIF's, 1 to 8.
        profile: returns the ICC profile, or None; decompresses where it has to.
    """

    width: int
    height: int
    bytes_per_pixel: int
    load: Callable[[], Image.Image]
    orientation: int = 1
    profile: Callable[[], bytes | None] = lambda: None
    load_scaled: Callable[[int], Image.Image] | None = None
