"""From the bytes of an image file to upright RGB pixels.

Steps: header, size limit, checksums, pixels, EXIF orientation, 8 bits, transparency over white, RGB.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from service.errors import NotAnImageError, TooManyPixelsError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
EXPECTED = "expected a JPEG, PNG, WebP, BMP, GIF or TIFF file"

# What Pillow's parsers are known to raise on damaged files.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(struct.error, zlib.error),
)


@contextmanager
def pillow_pixel_limit(max_pixels: int) -> Iterator[None]:
    """While open, give Pillow's own limit, a global of its module, the value of ours.

    `decode` refuses what is over the limit; Pillow's check only has to come before WebP's decoder, which allocates the
    canvas as soon as the file is opened. So its warning, which would repeat our refusal, is silenced.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Return the upright RGB image in `data`; of an animation, the first frame.

    Raises:
        NotAnImageError: the format is not one of FORMATS, the file is damaged or cut off, or its pixels have no
            defined white (32-bit integers, floats).
        TooManyPixelsError: the header claims more than `max_pixels`. No pixel was decoded.
    """
    if not data:
        raise NotAnImageError(f"the image is empty; {EXPECTED}")
    try:
        image = _open(data, max_pixels)
        if image.format == "PNG":  # alone has checksums; Pillow skips those of pixels while decoding
            image.verify()
            image = _open(data, max_pixels)
        image.load()
    except UnidentifiedImageError as error:
        raise NotAnImageError(f"the body is not an image, or its header is damaged; {EXPECTED}") from error
    except _DAMAGED as error:
        raise NotAnImageError(f"the image is damaged ({error}); {EXPECTED}, whole and unchanged") from error
    return _to_rgb(_upright(image))


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(
            f"the image's header claims more than the {max_pixels} pixels allowed; scale it down", limit=max_pixels
        ) from error
    if image.width * image.height > max_pixels:
        raise TooManyPixelsError(
            f"the image's header claims {image.width}×{image.height} pixels, {max_pixels} are allowed; scale it down",
            limit=max_pixels,
        )
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation. EXIF that cannot be read says nothing of how the camera was held."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except _DAMAGED:
        return image
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"}:
        raise NotAnImageError(
            f"pixels are 32-bit {'integers' if image.mode == 'I' else 'floats'}, which have no defined white; "
            "expected 1, 8 or 16 bits a channel"
        )
    if image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    try:
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise NotAnImageError(f"colours in {image.mode} are not supported; expected RGB, CMYK or grey") from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey: 65535 / 257 = 255. Pillow's own conversion clips at 255."""
    wide = np.asarray(image).astype(np.uint32)
    grey = ((wide + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:  # the one grey value that is transparent
        grey[wide == image.info["transparency"]] = 255
    return Image.fromarray(grey)
