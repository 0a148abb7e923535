"""From the bytes of an image file to upright RGB pixels.

Steps: format, header, limits, memory, pixels over white, colour profile, RGB, EXIF orientation. What each format needs
is in `imaging.formats`.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TypeVar

from PIL import AvifImagePlugin, Image, _imaging

from imaging.errors import DecodeMemoryError, ImageError, TooManyPixelsError, damaged
from imaging.formats.orientation import upright
from imaging.formats.picture import MAX_SIDE, Picture
from imaging.formats.signatures import read_picture
from imaging.formats.tiff_strips import silence_libtiff
from imaging.profiles import Profiles, to_srgb

T = TypeVar("T")

Enough = Callable[[int, int], tuple[int, int]]
"""From the (width, height) of an upright image to the least that its pixels may be scaled down to."""

Reserve = Callable[[int, int], AbstractContextManager[None]]
"""From a number of bytes, and those of the file, which are held already, to what is held as long as they are: entering
it may raise."""


KEPT_BLOCKS = 4
"""Blocks of 16 MiB that Pillow keeps: a photograph of 12 megapixels takes three."""


def unreserved(_size: int, _own: int) -> AbstractContextManager[None]:
    """Reserve nothing: memory is not budgeted."""
    return nullcontext()


@contextmanager
def pillow_pixel_limit(max_pixels: int) -> Iterator[None]:
    """While open, replace Pillow's own limits, which are global, and switch off libtiff's messages.

    `decode` checks headers itself, and Pillow would count the bytes of a TIFF's samples as pixels. AVIF is decoded on
    one thread, for images are already decoded side by side. Memory of pixels is kept for the next image: mapping it
    anew takes a third of the time of a photograph of 12 megapixels (benchmarks/jpeg_decoders.py).
    """
    silence_libtiff()
    before = Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS
    blocks = _imaging.get_blocks_max()
    Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS = 16 * max_pixels, 1
    _imaging.set_blocks_max(KEPT_BLOCKS)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS = before
        _imaging.set_blocks_max(blocks)


def decode(
    data: bytes,
    max_pixels: int,
    *,
    reserve: Reserve = unreserved,
    profiles: Profiles = "ignore",
    enough: Enough | None = None,
) -> Image.Image:
    """Return the upright RGB image in `data`; of an animation, the first frame.

    Args:
        data: the file.
        max_pixels: most that an image may have.
        reserve: called once, when the header is known and no pixel is decoded, with the bytes that decoding holds at
            most besides the file, and those of the file. What it returns is entered, and left when the image is freed,
            or decoding fails.
        profiles: what is done with the file's colour profile.
        enough: lets libjpeg scale a JPEG while decoding, by 2, 4 or 8, to no less than this size, where that divides
            both sides; None never scales.

    Raises:
        NotAnImageError: the format is not decoded, the file is damaged or cut off, its pixels have no defined white
            (32-bit integers, floats), or decoding it would take longer than its pixels explain.
        TooManyPixelsError: the header claims more than `max_pixels`, or a side of more than MAX_SIDE. No pixel was
            decoded.
        DecodeMemoryError: there is no memory for the pixels.
        Exception: whatever `reserve` raises.
    """
    with ExitStack() as held:
        picture = _as_image_errors(lambda: _read(data, max_pixels))
        held.enter_context(reserve(picture.width * picture.height * picture.bytes_per_pixel, len(data)))
        image = _as_image_errors(lambda: _pixels(picture, profiles, enough))
        weakref.finalize(image, held.pop_all().close).atexit = False
    return image


def _as_image_errors(step: Callable[[], T]) -> T:
    """Return the result of `step`; an exception that a decoder raises, whichever it is, becomes a NotAnImageError."""
    try:
        return step()
    except ImageError:
        raise
    except MemoryError as error:
        raise DecodeMemoryError(
            "there is no memory left to decode the image; send it again later, or scaled down"
        ) from error
    except Exception as error:
        raise damaged(str(error) or type(error).__name__) from error


def _read(data: bytes, max_pixels: int) -> Picture:
    picture = read_picture(data)
    width, height = picture.width, picture.height
    if width <= 0 or height <= 0:
        raise damaged(f"its header claims {width}×{height} pixels")
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"the image's header claims {width}×{height} pixels, {max_pixels} are allowed; scale it down",
            limit=max_pixels,
        )
    if max(width, height) > MAX_SIDE:
        raise TooManyPixelsError(
            f"the image's header claims {width}×{height} pixels, a side of {MAX_SIDE} is allowed; cut the longer side",
            limit=MAX_SIDE,
        )
    return picture


def _pixels(picture: Picture, profiles: Profiles, enough: Enough | None) -> Image.Image:
    if enough is not None and picture.load_scaled is not None:
        image = picture.load_scaled(_scale(picture, enough))
    else:
        image = picture.load()
    if profiles == "convert" and (profile := picture.profile()) is not None:
        image = to_srgb(image, profile)
    return upright(image if image.mode == "RGB" else image.convert("RGB"), picture.orientation)


def _scale(picture: Picture, enough: Enough) -> int:
    """Return the largest of 8, 4, 2 and 1 by which both sides may be divided, and can be without a remainder.

    libjpeg rounds a side up and repeats its last pixels, which moves the picture against the grid that it is resized
    to: measured, seven times the error of scaling itself. Sizes of cameras are divisible.
    """
    width, height = picture.width, picture.height
    least = enough(width, height) if picture.orientation < 5 else enough(height, width)[::-1]
    fitting = (scale for scale in (8, 4, 2) if width % scale == height % scale == 0)
    return next((scale for scale in fitting if width // scale >= least[0] and height // scale >= least[1]), 1)
