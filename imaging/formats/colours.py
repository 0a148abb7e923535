"""Conversion of samples to opaque 8-bit colours over white, a few rows at a time to save memory.

Values v · 255 / (2^bits − 1) are rounded, not truncated. Shapes: h rows of a stripe, W pixels of a row.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
Samples = NDArray[Any]
"""uint8 or uint16."""

_STRIPE = 1 << 18
"""Number of pixels converted at once; they fit into a core's cache."""


def stripes(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of the rows of each stripe."""
    rows = max(1, _STRIPE // max(width, 1))
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


def from_stripes(mode: str, size: tuple[int, int], make: Callable[[int, int], Bytes]) -> Image.Image:
    """Build an image in L, RGB or CMYK; `make(first, end)` returns uint8 [h, W] or [h, W, channels] of these rows."""
    image = Image.new(mode, size, None)
    for first, end in stripes(*size):
        image.paste(Image.fromarray(make(first, end), mode), (0, first))
    return image


def rows_of(image: Image.Image, first: int, end: int) -> NDArray[np.uint8]:
    """Return rows of an image as an array, without a copy of the whole image."""
    return np.asarray(image.crop((0, first, image.width, end)))


@lru_cache
def eight_bit_table(bits: int) -> Bytes:
    """Return the table from values of `bits` bits to 8 bits: uint8 [2^bits]."""
    most = 2**bits - 1
    table: Bytes = ((np.arange(2**bits, dtype=np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    return table


def over_white(image: Image.Image) -> Image.Image:
    """Blend an image with alpha (RGBA or LA) over white, to RGB; needs 4 more bytes per pixel than the image."""
    white = Image.new("RGB", image.size, "white")
    white.paste(image, (0, 0), image)
    return white


def blend_white(colours: Bytes, alpha: Bytes, *, premultiplied: bool = False) -> Bytes:
    """Blend colours over white, to uint8 [h, W, channels].

    Args:
        colours: [h, W, channels].
        alpha: [h, W].
        premultiplied: whether the colours are already multiplied by alpha.
    """
    share = alpha[..., np.newaxis].astype(np.uint16)
    blended: Bytes
    if premultiplied:
        blended = np.minimum(colours + (255 - share), 255).astype(np.uint8)
    else:
        blended = ((colours * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
    return blended


def look_up(indices: Image.Image, palette: Bytes) -> Image.Image:
    """Convert palette indices to an RGB image.

    Args:
        indices: mode P.
        palette: uint8 [n, 3], n at most 256; an index beyond it is black.
    """
    indices.putpalette(palette.tobytes() + bytes(768 - palette.size), "RGB")
    return indices.convert("RGB")
