"""Image reading for requests: settings, and conversion of `imaging` errors to responses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from artifact import Manifest
from imaging.decode import Reserve
from imaging.errors import DecodeMemoryError, NotAnImageError, ResizerError, TooManyPixelsError
from imaging.formats.picture import MAX_SIDE
from imaging.preprocess import Reading
from imaging.profiles import Profiles
from imaging.resizers import find_resizer
from service.problems.client_errors import ImageTooLargeError, InvalidImageError
from service.problems.errors import ImageSettingError, RefusalError
from service.problems.server_errors import NotReadyError
from service.settings import Settings

_PROFILES: dict[str, Profiles] = {name: name for name in get_args(Profiles)}


def reading_of(settings: Settings, reserve: Reserve) -> Reading:
    """Return the settings for reading images.

    Raises:
        ImageSettingError: RESIZER, ICC or JPEG_SCALING is unknown, or the resizer is not installed.
    """
    try:
        resize = find_resizer(settings.resizer)
    except ResizerError as error:
        raise ImageSettingError(f"{error}: --resizer") from error
    if settings.icc not in _PROFILES:
        known = " or ".join(_PROFILES)
        raise ImageSettingError(f"--icc is {settings.icc!r}; expected {known}")
    if settings.jpeg_scaling not in {"auto", "exact"}:
        raise ImageSettingError(f"--jpeg-scaling is {settings.jpeg_scaling!r}; expected auto or exact")
    return Reading(
        settings.max_pixels, resize, reserve, _PROFILES[settings.icc], jpeg_scaling=settings.jpeg_scaling == "auto"
    )


@contextmanager
def image_problems() -> Iterator[None]:
    """Convert errors of an image to responses: 400, 413, or 503 if the same request may succeed later."""
    try:
        yield
    except NotAnImageError as error:
        raise InvalidImageError(str(error)) from error
    except TooManyPixelsError as error:
        raise ImageTooLargeError(str(error), limit=error.limit) from error
    except DecodeMemoryError as error:
        raise NotReadyError(str(error)) from error


def check_sizes(manifest: Manifest, max_pixels: int) -> None:
    """Check that no image would be resized or cropped to more than `max_pixels`, whatever its shape.

    Raises:
        RefusalError: the manifest's `resize`, `crop` or input is larger, or has a side of more than MAX_SIDE.
    """
    steps = manifest.preprocess
    resize = (steps.resize, steps.resize) if isinstance(steps.resize, int) else steps.resize
    size = (manifest.input.height, manifest.input.width)
    for name, (height, width) in (("resize", resize), ("crop", steps.crop or (1, 1)), ("input", size)):
        if height * width > max_pixels or max(height, width) > MAX_SIDE:
            raise RefusalError(
                f"its {name} of {height}×{width} pixels is over the limit of {max_pixels} pixels, or of {MAX_SIDE} "
                "a side; export it with a smaller size, or raise --max-pixels"
            )
