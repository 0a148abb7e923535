"""The result of reading a header: size, memory, orientation, profile, and a function that decodes the pixels."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from service.errors import NotAnImageError

FORMATS = ("JPEG", "PNG", "WebP", "AVIF", "BMP", "GIF", "TIFF")
EXPECTED = f"expected a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"

MAX_SIDE = 65_535
"""Most pixels of a side: JPEG's own limit. Resizers keep coefficients for every pixel of a side."""


def no_profile() -> bytes | None:
    """Return None: the file has no colour profile."""
    return None


@dataclass(frozen=True)
class Picture:
    """One picture whose header was read, and no pixel decoded.

    Attributes:
        width, height: in pixels, as stored.
        bytes_per_pixel: most that decoding holds at once, the file itself not counted.
        load: decodes; returns an opaque image, already over white, in mode L, RGB or CMYK. May raise anything.
        orientation: EXIF's, 1 to 8.
        profile: returns the ICC profile, or None; decompresses where it has to.
    """

    width: int
    height: int
    bytes_per_pixel: int
    load: Callable[[], Image.Image]
    orientation: int = 1
    profile: Callable[[], bytes | None] = no_profile


def damaged(cause: str) -> NotAnImageError:
    """Return the error for a file that is not as it was written."""
    return NotAnImageError(f"the image is damaged ({cause:.200}); {EXPECTED}, whole and unchanged")


def cut_off() -> NotAnImageError:
    """Return the error for a file that ends before its image does."""
    return damaged("truncated: the file ends before its pixels do")
