"""Decoding of an image file to upright RGB pixels.

Steps: format, header, limits, memory, pixels over white, colour profile, RGB, EXIF orientation. Each format
has a module in `imaging.formats`.
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
"""Maps the (width, height) of an upright image to the smallest size that decoding may scale it down to."""

Reserve = Callable[[int, int], AbstractContextManager[None]]
"""Maps the bytes to reserve, and the size of the file (already reserved), to a context manager that holds the
reservation. Entering it may raise."""


KEPT_BLOCKS = 4
"""Blocks of 16 MiB that Pillow keeps: a photograph of 12 megapixels takes three."""


def unreserved(_size: int, _own: int) -> AbstractContextManager[None]:
    """Reserve nothing, for use without a memory budget."""
    return nullcontext()


@contextmanager
def pillow_pixel_limit(max_pixels: int) -> Iterator[None]:
    """Replace Pillow's global limits inside the context, and disable libtiff's messages.

    `decode` checks headers itself, and Pillow counts the bytes of a TIFF's samples as pixels. AVIF is decoded on one
    thread, because images are already decoded in parallel. Pillow keeps the memory of pixels for the next image:
    mapping it again takes a third of the time of a photograph of 12 megapixels (benchmarks/jpeg_decoders.py).
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
    """Decode the upright RGB image in `data`; for an animation, the first frame.

    Args:
        data: the file.
        max_pixels: maximum number of pixels.
        reserve: called once, after the header is read and before pixels are decoded, with the peak memory of decoding
            (without the file) and the size of the file, in bytes. The returned context is entered, and left when the
            image is freed or decoding fails.
        profiles: handling of the file's colour profile.
        enough: returns the smallest size to which libjpeg may scale a JPEG while decoding, by a factor of 2, 4 or 8
            that divides both sides; None disables scaling.

    Raises:
        NotAnImageError: the format is not supported, the file is damaged or truncated, its pixels have no defined white
            (32-bit integers, floats), or decoding would take disproportionately long for its size.
        TooManyPixelsError: the header declares more than `max_pixels`, or a side longer than MAX_SIDE. No pixel was
            decoded.
        DecodeMemoryError: there is not enough memory for the pixels.
        Exception: any exception of `reserve`.
    """
    with ExitStack() as held:
        picture = _as_image_errors(lambda: _read(data, max_pixels))
        held.enter_context(reserve(picture.width * picture.height * picture.bytes_per_pixel, len(data)))
        image = _as_image_errors(lambda: _pixels(picture, profiles, enough))
        weakref.finalize(image, held.pop_all().close).atexit = False
    return image


def _as_image_errors(step: Callable[[], T]) -> T:
    """Return the result of `step`; any exception of a decoder is converted to a NotAnImageError."""
    try:
        return step()
    except ImageError:
        raise
    except MemoryError as error:
        raise DecodeMemoryError(
            "there is not enough memory to decode the image; try again later, or send a smaller image"
        ) from error
    except Exception as error:
        raise damaged(str(error) or type(error).__name__) from error


def _read(data: bytes, max_pixels: int) -> Picture:
    picture = read_picture(data)
    width, height = picture.width, picture.height
    if width <= 0 or height <= 0:
        raise damaged(f"its header declares {width}×{height} pixels")
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"the image's header declares {width}×{height} pixels, at most {max_pixels} are allowed; scale it down",
            limit=max_pixels,
        )
    if max(width, height) > MAX_SIDE:
        raise TooManyPixelsError(
            f"the image's header declares {width}×{height} pixels, a side may have {MAX_SIDE}; crop the longer side",
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
    """Return the largest allowed scale of 8, 4, 2 and 1 that divides both sides.

    For other sides, libjpeg rounds up and repeats the last pixels, which shifts the image against the grid of the
    resize: measured, seven times the error of the scaling itself. Camera images have divisible sides.
    """
    width, height = picture.width, picture.height
    least = enough(width, height) if picture.orientation < 5 else enough(height, width)[::-1]
    fitting = (scale for scale in (8, 4, 2) if width % scale == height % scale == 0)
    return next((scale for scale in fitting if width // scale >= least[0] and height // scale >= least[1]), 1)
