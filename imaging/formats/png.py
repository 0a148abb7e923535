"""PNG (ISO/IEC 15948): chunks, and pixels of every depth and colour type.

Chunks are parsed here, and only those required for decoding are read, so an image is never refused for its text,
profile or the checksum of an ancillary chunk. Pixels are decoded by Pillow; for an APNG, the default image.
"""

import struct
import zlib
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import NotAnImageError, cut_off, damaged
from imaging.formats.codec import run_codec
from imaging.formats.colours import (
    blend_white,
    eight_bit_table,
    from_stripes,
    look_up,
    over_white,
    rows_of,
    stripes,
)
from imaging.formats.orientation import orientation_of
from imaging.formats.picture import Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 100_000
"""Maximum number of chunks, each a step in Python. libpng writes 8 KiB of pixels per chunk: 16 MiB are 2,000 chunks."""
_MAX_PROFILE = 4 * 2**20
_AT_ONCE = 2**20
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {_GREY: {1, 2, 4, 8, 16}, _PALETTE: {1, 2, 4, 8}, _RGB: {8, 16}, _GREY_ALPHA: {8, 16}, _RGB_ALPHA: {8, 16}}
_BITS = {"1": 1, "P": 8, "L": 8, "I;16": 16, "LA": 16, "RGB": 24, "RGBA": 32}
"""Bits per pixel, by Pillow's mode."""
_MARK = b"\x5a\xc3\x17\xe8\x9d\x24\xb1"
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes: first column, first row, column step, row step."""


@dataclass
class _Png:
    width: int
    height: int
    depth: int
    kind: int
    interlaced: bool
    palette: bytes = b""
    transparency: bytes = b""
    exif: bytes = b""
    profile: bytes = b""
    pixels: list[memoryview] = field(default_factory=list)


def read_png(data: bytes) -> Picture:
    """Read a PNG file.

    Raises:
        NotAnImageError: a required chunk is missing, damaged or truncated, or there are too many chunks.
    """
    png = _chunks(data)
    deep = png.depth == 16 and png.kind in {_RGB, _RGB_ALPHA}
    return Picture(
        width=png.width,
        height=png.height,
        bytes_per_pixel=12 if deep else 8,
        load=partial(_load, png),
        orientation=orientation_of(png.exif),
        profile=partial(_profile, png.profile),
    )


def _chunks(data: bytes) -> _Png:
    whole = memoryview(data)
    png: _Png | None = None
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            raise cut_off()
        length, name = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + 8 + length
        if end + 4 > len(data):
            raise cut_off()
        content = whole[start:end]
        if png is None:
            png = _header(name, content, data[end : end + 4])
        elif name == b"IDAT":
            _check(name, content, data[end : end + 4])
            png.pixels.append(content)
        elif name == b"IEND":
            return _complete(png)
        elif name == b"PLTE":
            _check(name, content, data[end : end + 4])
            png.palette = bytes(content)
        elif name in _ANCILLARY and not getattr(png, _ANCILLARY[name]):
            if _fits(name, content, data[end : end + 4]):
                setattr(png, _ANCILLARY[name], bytes(content))
        elif not name[0] & 0x20:
            raise NotAnImageError(f"the PNG has an unknown critical chunk {name!r}; save it again")
        position = end + 4
    raise NotAnImageError(f"the PNG has more than {_MAX_CHUNKS} chunks; save it again, without metadata")


_ANCILLARY = {b"tRNS": "transparency", b"eXIf": "exif", b"iCCP": "profile"}
"""Ancillary chunks that are read. As in libpng, a chunk with a wrong checksum is ignored."""


def _header(name: bytes, content: memoryview, checksum: bytes) -> _Png:
    if name == b"CgBI":
        raise NotAnImageError("the PNG is in Apple's CgBI variant; save it as an ordinary PNG or JPEG")
    if name != b"IHDR" or len(content) != 13:
        raise damaged("its first chunk is not a header")
    _check(name, content, checksum)
    width, height, depth, kind, compression, filters, interlaced = struct.unpack(">IIBBBBB", content)
    if depth not in _DEPTHS.get(kind, ()) or compression or filters or interlaced > 1:
        raise NotAnImageError(
            f"the PNG's header is not valid (colour type {kind} of {depth} bits, compression {compression}, "
            f"filter {filters}, interlace {interlaced}); save it again"
        )
    return _Png(width, height, depth, kind, bool(interlaced))


def _fits(name: bytes, content: memoryview, checksum: bytes) -> bool:
    return zlib.crc32(content, zlib.crc32(name)).to_bytes(4, "big") == checksum


def _check(name: bytes, content: memoryview, checksum: bytes) -> None:
    if not _fits(name, content, checksum):
        raise damaged(f"the checksum of its {name.decode()} chunk is wrong")


def _complete(png: _Png) -> _Png:
    if not png.pixels:
        raise damaged("it has no pixels (no IDAT chunk)")
    if png.kind == _PALETTE and (not png.palette or len(png.palette) % 3 or len(png.palette) > 768):
        raise damaged("its palette is missing or not valid")
    return png


def _profile(chunk: bytes) -> bytes | None:
    """Return the decompressed profile of an iCCP chunk; None if it cannot be read."""
    try:
        return zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], _MAX_PROFILE) or None
    except zlib.error:
        return None


def _load(png: _Png) -> Image.Image:
    if png.kind == _PALETTE:
        return look_up(_decode(png, "P", "P" if png.depth == 8 else f"P;{png.depth}"), _palette(png))
    if png.kind == _GREY:
        return _grey(png)
    if png.kind == _RGB:
        return _rgb(png) if png.depth == 8 else _deep(png, "RGB")
    if png.depth == 16:
        return _deep_grey_alpha(png) if png.kind == _GREY_ALPHA else _deep(png, "RGBA")
    mode = "LA" if png.kind == _GREY_ALPHA else "RGBA"
    return over_white(_decode(png, mode, mode))


def _palette(png: _Png) -> NDArray[np.uint8]:
    """Return the palette over white: uint8 [n, 3]."""
    colours = np.frombuffer(png.palette, np.uint8).reshape(-1, 3)
    alpha = np.full(len(colours), 255, np.uint8)
    given = np.frombuffer(png.transparency, np.uint8)[: len(colours)]
    alpha[: len(given)] = given
    return blend_white(colours, alpha)


def _key(png: _Png) -> tuple[int, ...] | None:
    """Return the stored value of the transparent colour, one number per channel; None if there is none."""
    channels = _CHANNELS[png.kind]
    if len(png.transparency) < 2 * channels:
        return None
    return tuple(value & (2**png.depth - 1) for value in struct.unpack_from(f">{channels}H", png.transparency))


def _grey(png: _Png) -> Image.Image:
    key = _key(png)
    if png.depth < 16:
        raw = {1: "1", 8: "L"}.get(png.depth, f"L;{png.depth}")
        image = _decode(png, "1" if png.depth == 1 else "L", raw).convert("L")  # the decoder scales to 0…255
        if key is None:
            return image
        table = list(range(256))
        table[int(eight_bit_table(png.depth)[key[0]])] = 255
        return image.point(table)
    wide = _decode(png, "I;16", "I;16B")
    table16 = eight_bit_table(16)
    if key is not None:
        table16 = table16.copy()
        table16[key[0]] = 255
    return from_stripes("L", wide.size, lambda first, end: table16[rows_of(wide, first, end)])


def _rgb(png: _Png) -> Image.Image:
    image, key = _decode(png, "RGB", "RGB"), _key(png)
    if key is not None:
        for first, end in stripes(*image.size):
            rows = rows_of(image, first, end)
            transparent = (rows == np.array(key, np.uint8)).all(axis=2)
            if transparent.any():
                image.paste((255, 255, 255), (0, first), Image.fromarray(transparent))
    return image


def _deep(png: _Png, mode: str) -> Image.Image:
    """Decode 16-bit RGB or RGBA twice: once for the high bytes of all samples, once for the low bytes."""
    high, low = _decode(png, mode, f"{mode};16B"), _decode(png, mode, f"{mode};16L")
    key, table = _key(png) if mode == "RGB" else None, eight_bit_table(16)
    for first, end in stripes(*high.size):
        wide = (rows_of(high, first, end).astype(np.uint16) << 8) | rows_of(low, first, end)
        rounded = table[wide]
        if key is not None:
            rounded[(wide == np.array(key, np.uint16)).all(axis=2)] = 255
        high.paste(Image.fromarray(rounded, mode), (0, first))
    del low
    return over_white(high) if mode == "RGBA" else high


def _deep_grey_alpha(png: _Png) -> Image.Image:
    """Decode 16-bit grey with alpha, four bytes per pixel, as 8-bit RGBA."""
    stored, table = _decode(png, "RGBA", "RGBA"), eight_bit_table(16)

    def make(first: int, end: int) -> NDArray[np.uint8]:
        rows = rows_of(stored, first, end).view(">u2")  # [h, W, 2]
        return blend_white(table[rows[..., :1]], table[rows[..., 1]])[..., 0]

    return from_stripes("L", stored.size, make)


def _decode(png: _Png, mode: str, raw: str) -> Image.Image:
    """Decode the pixels as stored.

    Pillow's decoder does not detect compressed data that end before the last row. Therefore a marker is written into
    the last row before decoding; if it is unchanged afterwards, the decompressed bytes are counted.

    Raises:
        NotAnImageError: the compressed data are damaged or too short.
    """
    image = Image.new(mode, (png.width, png.height), None)
    last = (0, png.height - 1, png.width, png.height)
    size = -(-png.width * _BITS[mode] // 8)
    mark = Image.frombytes(mode, (png.width, 1), (_MARK * (size // len(_MARK) + 1))[:size])
    image.paste(mark, last)
    run_codec(image, "zip", (raw, int(png.interlaced)), png.pixels)
    unchanged = image.crop(last).tobytes() == mark.tobytes()
    if (png.interlaced or unchanged) and _inflated(png, need := _needed(png)) < need:
        raise cut_off()
    return image


def _needed(png: _Png) -> int:
    """Return the number of bytes of an image's filtered rows."""
    bits = png.depth * _CHANNELS[png.kind]
    if not png.interlaced:
        return png.height * (1 + (png.width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(png.width - left) // across), -(-(png.height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated(png: _Png, need: int) -> int:
    """Return the number of decompressed bytes, counted up to `need`."""
    inflater, total = zlib.decompressobj(), 0
    for part in png.pixels:
        rest: bytes | memoryview = part
        found = _AT_ONCE
        while total < need and (rest or found == _AT_ONCE):
            found = len(inflater.decompress(rest, _AT_ONCE))
            total += found
            rest = inflater.unconsumed_tail
    return total
