"""libwebp's decoder of still images, from the library that Pillow brings, called through ctypes.

It writes into an array of ours, without Python's lock. Pillow itself decodes every WebP as an animation, in four
buffers of the size of the image, and copies one of them with the lock held.
"""

import ctypes
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import features

_Size = ctypes.POINTER(ctypes.c_int)


@cache
def library() -> ctypes.CDLL | None:
    """Return libwebp, or None where Pillow hides it, as where it is linked into it (Windows)."""
    if not features.check("webp"):
        return None
    from PIL import _webp

    try:
        found = ctypes.CDLL(_webp.__file__)
        info, decode = found.WebPGetInfo, found.WebPDecodeRGBAInto
    except (AttributeError, OSError):
        return None
    info.argtypes = (ctypes.c_char_p, ctypes.c_size_t, _Size, _Size)
    info.restype = ctypes.c_int
    decode.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    decode.restype = ctypes.c_void_p
    return found


def decode_still(found: ctypes.CDLL, data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """Return uint8 [height, width, 4] of a still image; None if it is damaged, or of another size."""
    found_width, found_height = ctypes.c_int(), ctypes.c_int()
    found.WebPGetInfo(data, len(data), ctypes.byref(found_width), ctypes.byref(found_height))
    if (found_width.value, found_height.value) != (width, height):
        return None
    pixels = np.empty((height, width, 4), np.uint8)
    made = found.WebPDecodeRGBAInto(data, len(data), pixels.ctypes.data, pixels.nbytes, 4 * width)
    return pixels if made else None
