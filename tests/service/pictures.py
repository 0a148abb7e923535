"""Encoded images, valid and damaged."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def random_pixels(height: int = 8, width: int = 6, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: Image.Image | NDArray[Any], kind: str = "PNG", **options: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header states any size, with correct checksums."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def webp_claiming(width: int, height: int) -> bytes:
    """Return a valid WebP in an extended container whose canvas states any size."""
    inner = encode(random_pixels(), "WEBP")[12:]
    canvas = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBP" + b"VP8X" + struct.pack("<I", len(canvas)) + canvas + inner
    return b"RIFF" + struct.pack("<I", len(content)) + content


def with_broken_pixel_checksum(png: bytes) -> bytes:
    """Change the CRC of the first IDAT chunk only."""
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    crc = start + 4 + length
    return png[:crc] + bytes([png[crc] ^ 0xFF]) + png[crc + 1 :]


def truncated_jpeg() -> bytes:
    whole = encode(random_pixels(64, 64), "JPEG")
    return whole[: len(whole) // 2]
