"""WebP: a RIFF container of VP8 or VP8L; for an animation, the first frame at its position on the canvas, over white.

The still-image decoder of the libwebp bundled with Pillow is called through ctypes: it writes into a NumPy array
without the GIL. Pillow itself decodes every WebP as an animation, in four buffers of the size of the image, and copies
one of them with the GIL held.
"""

import ctypes
import io
import struct
from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from PIL import Image, WebPImagePlugin, features

from imaging.errors import NotAnImageError, cut_off, damaged
from imaging.formats.colours import over_white
from imaging.formats.orientation import orientation_of
from imaging.formats.picture import Picture

_MAX_CHUNKS = 10_000
_OF_PILLOW = 16
"""Bytes per pixel if Pillow decodes: libwebp's two canvases of an animation, VP8L's pixels, a copy, the image."""


@cache
def library() -> ctypes.CDLL | None:
    """Return libwebp, or None if it is not accessible, for example statically linked into Pillow (Windows)."""
    if not features.check("webp"):
        return None
    from PIL import _webp

    try:
        found = ctypes.CDLL(_webp.__file__)
        info, decode = found.WebPGetInfo, found.WebPDecodeRGBAInto
    except (AttributeError, OSError):
        return None
    size = ctypes.POINTER(ctypes.c_int)
    info.argtypes = (ctypes.c_char_p, ctypes.c_size_t, size, size)
    info.restype = ctypes.c_int
    decode.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    decode.restype = ctypes.c_void_p
    return found


def read_webp(data: bytes) -> Picture:
    """Read a WebP file.

    Raises:
        NotAnImageError: the file is damaged or truncated, or has too many chunks.
    """
    size: tuple[int, int] | None = None
    exif, profile, frame = b"", b"", b""
    for name, content in _chunks(data):
        if size is None:
            size = _size(name, content)
        elif name == b"EXIF":
            exif = exif or bytes(content)
        elif name == b"ICCP":
            profile = profile or bytes(content)
        elif name == b"ANMF":
            frame = frame or bytes(content)
    if size is None:
        raise cut_off()
    return Picture(
        *size,
        bytes_per_pixel=8 if library() is not None else _OF_PILLOW,
        load=partial(_load, data, size, frame),
        orientation=orientation_of(exif),
        profile=lambda: profile or None,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield name and contents of each chunk; the last may be truncated."""
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > end:
            return
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, memoryview(data)[position + 8 : min(position + 8 + length, end)]
        position += 8 + length + (length & 1)
    raise NotAnImageError(f"the WebP has more than {_MAX_CHUNKS} chunks; save it again, as a still image")


def _size(name: bytes, content: memoryview) -> tuple[int, int]:
    """Return (width, height) from the first chunk."""
    if name == b"VP8X" and len(content) >= 10:
        return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    if name == b"VP8L" and len(content) >= 5 and content[0] == 0x2F:
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and len(content) >= 10 and bytes(content[3:6]) == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise damaged("its first chunk is not a header")


def _load(data: bytes, size: tuple[int, int], frame: bytes) -> Image.Image:
    found = library()
    if found is None:
        image: Image.Image = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
        image.load()
        return over_white(image.convert("RGBA"))
    if not frame:
        return _still(found, data, size)
    if len(frame) < 16:
        raise cut_off()
    left, top, width, height = (int.from_bytes(frame[at : at + 3], "little") for at in (0, 3, 6, 9))
    left, top, width, height = 2 * left, 2 * top, width + 1, height + 1
    if left + width > size[0] or top + height > size[1]:
        raise damaged("its first frame does not fit its canvas")
    pixels = _still(found, _as_still(frame[16:], width, height), (width, height))
    if (width, height) == size:
        return pixels
    canvas = Image.new("RGB", size, "white")
    canvas.paste(pixels, (left, top))
    return canvas


def _as_still(chunks: bytes, width: int, height: int) -> bytes:
    """Return a still WebP file from the chunks of a frame, which may have alpha."""
    header = b"\x10\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", len(header)) + header + chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _still(found: ctypes.CDLL, data: bytes, size: tuple[int, int]) -> Image.Image:
    width, height = ctypes.c_int(), ctypes.c_int()
    found.WebPGetInfo(data, len(data), ctypes.byref(width), ctypes.byref(height))
    pixels = np.empty((size[1], size[0], 4), np.uint8)
    if (width.value, height.value) != size or not found.WebPDecodeRGBAInto(
        data, len(data), pixels.ctypes.data, pixels.nbytes, 4 * size[0]
    ):
        raise damaged("its pixels cannot be decompressed")
    image = Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1)
    return image.convert("RGB") if data[12:16] == b"VP8 " else over_white(image)  # plain VP8 has no alpha
