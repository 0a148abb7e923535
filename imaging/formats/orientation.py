"""EXIF orientation (tag 0x0112): the rotation that makes a stored image upright.

Only EXIF is read, not its copy in XMP, as in browsers.
"""

import struct

from PIL import Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_ENTRIES = 1000
_NUMBERS = {1: "B", 3: "H", 4: "I"}


def orientation_of(exif: bytes) -> int:
    """Return the orientation of an EXIF block, 1 to 8; 1 if it is missing or unreadable.

    Args:
        exif: a TIFF header and directory, with or without `Exif\\0\\0` before it, once or twice.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for index in range(min(count, _MAX_ENTRIES)):
            at = start + 2 + 12 * index
            tag, kind, _ = struct.unpack_from(order + "HHI", exif, at)
            if tag == 0x0112:
                (value,) = struct.unpack_from(order + _NUMBERS.get(kind, "H"), exif, at + 8)
                return value if value in _TURNS else 1
    except struct.error:
        return 1
    return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Rotate and mirror an image according to its orientation."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
