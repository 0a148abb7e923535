"""Errors of image decoding. Each message names the cause and, after a semicolon, the remedy.

ImagingError
├── ResizerError                a resizer is unknown or not installed
└── ImageError                  an image cannot be converted to a network's input
    ├── NotAnImageError             its format is not supported, it is damaged, or takes too long to decode
    ├── TooManyPixelsError          it is larger than a limit
    └── DecodeMemoryError           there is not enough memory for its pixels
"""

FORMATS = "JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF"
EXPECTED = f"expected a {FORMATS} file"


class ImagingError(Exception):
    """Base class of this package's errors."""


class ResizerError(ImagingError):
    """The resizer is unknown or not installed."""


class ImageError(ImagingError):
    """An image cannot be converted to a network's input."""


class NotAnImageError(ImageError):
    """The bytes are not an image in one of FORMATS, are damaged, or would take too long to decode for their size."""


class TooManyPixelsError(ImageError):
    """The image is larger than a limit.

    Args:
        message: the sizes and the remedy.
        limit: maximum number of pixels, of the image or of a side.
    """

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class DecodeMemoryError(ImageError):
    """There is not enough memory for the pixels, although they are within the limits; a later attempt may succeed."""


def damaged(cause: str) -> NotAnImageError:
    """Return the error for a damaged file."""
    return NotAnImageError(f"the image is damaged ({cause:.200}); {EXPECTED}, complete and unchanged")


def cut_off() -> NotAnImageError:
    """Return the error for a truncated file."""
    return damaged("truncated: the file ends before its pixels do")
