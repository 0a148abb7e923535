"""Errors of reading an image. Each message names the cause, and after a semicolon the remedy.

ImagingError
├── ResizerError                a resizer is unknown or not installed
└── ImageError                  one image cannot be turned into a network's input
    ├── NotAnImageError             its format is not decoded, it is damaged, or takes too long to decode
    ├── TooManyPixelsError          it is larger than a limit
    └── DecodeMemoryError           there is no memory for its pixels
"""

FORMATS = "JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF"
EXPECTED = f"expected a {FORMATS} file"


class ImagingError(Exception):
    """Anything this package raises on purpose."""


class ResizerError(ImagingError):
    """There is no such resizer, or it is not installed."""


class ImageError(ImagingError):
    """One image cannot be turned into a network's input."""


class NotAnImageError(ImageError):
    """The bytes are not an image of FORMATS, are damaged, or would take longer to decode than their pixels explain."""


class TooManyPixelsError(ImageError):
    """The image is larger than a limit.

    Args:
        message: the sizes and the remedy.
        limit: in pixels, of the image or of a side.
    """

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class DecodeMemoryError(ImageError):
    """There is no memory for the pixels, though they are within the limits: a later attempt may succeed."""


def damaged(cause: str) -> NotAnImageError:
    """Return the error for a file that is not as it was written."""
    return NotAnImageError(f"the image is damaged ({cause:.200}); {EXPECTED}, whole and unchanged")


def cut_off() -> NotAnImageError:
    """Return the error for a file that ends before its image does."""
    return damaged("truncated: the file ends before its pixels do")
