"""BMP: Windows bitmaps with every header (12 to 124 bytes), depth, mask and run-length encoding.

Palette look-ups, masks and run lengths use NumPy instead of Pillow's reader, which takes a Python step for each pixel
of a run and misreads small palettes.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imaging.errors import NotAnImageError, cut_off
from imaging.formats.colours import blend_white, from_stripes, look_up, stripes
from imaging.formats.picture import Picture

_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHABITFIELDS = 0, 1, 2, 3, 6
_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
"""Default masks of red, green, blue and alpha; the fourth byte of 32-bit pixels is reserved."""
_DEPTHS = {_RGB: {1, 2, 4, 8, 16, 24, 32}, _RLE8: {8}, _RLE4: {4}, _BITFIELDS: {16, 32}, _ALPHABITFIELDS: {16, 32}}
_MAX_RUNS = 2_000_000
"""Maximum number of runs, each a step in Python: about 1 s in all."""


@dataclass(frozen=True)
class _Bmp:
    data: bytes
    offset: int
    width: int
    height: int
    upwards: bool
    depth: int
    compression: int
    palette: NDArray[np.uint8]
    masks: tuple[int, ...]

    @property
    def stride(self) -> int:
        return (self.width * self.depth + 31) // 32 * 4

    def rows(self, first: int, end: int) -> NDArray[np.uint8]:
        """Return stored rows, from the top down: uint8 [h, stride]."""
        stored = np.frombuffer(self.data, np.uint8, self.stride * self.height, self.offset)
        stored = stored.reshape(self.height, self.stride)
        if self.upwards:
            return stored[self.height - end : self.height - first][::-1]
        return stored[first:end]


def read_bmp(data: bytes) -> Picture:
    """Read a BMP file.

    Raises:
        NotAnImageError: the file is damaged, truncated, or of an unsupported kind.
    """
    try:
        bmp = _header(data)
    except struct.error as error:
        raise cut_off() from error
    return Picture(bmp.width, bmp.height, bytes_per_pixel=8, load=partial(_load, bmp))


def _header(data: bytes) -> _Bmp:
    offset, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADERS:
        raise NotAnImageError(f"the BMP's header has an invalid size of {size} bytes; save it again")
    compression = colours = 0
    if size == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, depth, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", data, 18)
    if (size == 64 and compression > _RLE4) or depth not in _DEPTHS.get(compression, ()):
        raise NotAnImageError(
            f"the BMP has {depth} bits per pixel and compression {compression}, which is not supported; save it as PNG"
        )
    if width <= 0 or height == 0:
        raise NotAnImageError(f"the BMP claims {width}×{height} pixels; send the file unchanged")
    position, masks = 14 + size, _MASKS.get(depth, ())
    if compression in {_BITFIELDS, _ALPHABITFIELDS}:
        count = 4 if size >= 56 or compression == _ALPHABITFIELDS else 3
        masks = (*struct.unpack_from(f"<{count}I", data, 54), 0)[:4]
        position = max(position, 54 + 4 * count) if size == 40 else position
        if not any(masks):
            masks = (*_MASKS[depth][:3], 0xFF000000 if depth == 32 else 0)
    entry = 3 if size == 12 else 4
    palette = np.zeros((0, 3), np.uint8)
    if depth <= 8:
        end = offset if offset > position else len(data)
        count = min(colours or 2**depth, 2**depth, (end - position) // entry)
        palette = np.frombuffer(data, np.uint8, count * entry, position).reshape(count, entry)[:, 2::-1]
        position += count * entry
    bmp = _Bmp(data, offset or position, width, abs(height), height > 0, depth, compression, palette, masks)
    if compression in {_RLE8, _RLE4}:
        return bmp
    missing = bmp.offset + bmp.stride * bmp.height - len(data)
    if missing > 0:
        if missing > bmp.stride - (width * depth + 7) // 8:
            raise cut_off()
        return replace(bmp, data=data + bytes(missing))  # the padding of the last row, which some programs omit
    return bmp


def _load(bmp: _Bmp) -> Image.Image:
    size = (bmp.width, bmp.height)
    if bmp.compression in {_RLE8, _RLE4}:
        order = -1 if bmp.upwards else 1
        return look_up(Image.frombuffer("P", size, _run_lengths(bmp), "raw", "P", 0, order), bmp.palette)
    if bmp.depth <= 8:
        return look_up(from_stripes("P", size, partial(_indices, bmp)), bmp.palette)
    if bmp.depth == 24:
        return from_stripes("RGB", size, lambda first, end: _bytes(bmp, first, end)[..., ::-1])
    if bmp.depth == 32 and bmp.masks == _MASKS[32]:
        return from_stripes("RGB", size, lambda first, end: _bytes(bmp, first, end)[..., 2::-1])
    return from_stripes("RGB", size, _masked(bmp))


def _bytes(bmp: _Bmp, first: int, end: int) -> NDArray[np.uint8]:
    """Return uint8 [h, W, bytes of a pixel]."""
    channels = bmp.depth // 8
    return bmp.rows(first, end)[:, : bmp.width * channels].reshape(end - first, bmp.width, channels)


def _indices(bmp: _Bmp, first: int, end: int) -> NDArray[np.uint8]:
    """Return palette indices: uint8 [h, W]."""
    rows = bmp.rows(first, end)
    if bmp.depth < 8:
        shifts = np.arange(8 - bmp.depth, -1, -bmp.depth, dtype=np.uint8)
        rows = (rows[..., np.newaxis] >> shifts & (2**bmp.depth - 1)).reshape(end - first, -1)
    return np.ascontiguousarray(rows[:, : bmp.width])


def _masked(bmp: _Bmp) -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a function that extracts channels by masks; with alpha, over white.

    Alpha that is 0 everywhere is treated as opaque: GDI and clipboards do not write alpha.
    """

    def words(first: int, end: int) -> NDArray[np.uint32]:
        kind = "<u2" if bmp.depth == 16 else "<u4"
        return np.ascontiguousarray(bmp.rows(first, end)).view(kind)[:, : bmp.width].astype(np.uint32)

    red, green, blue, alpha = (_Channel.of(mask) for mask in bmp.masks)
    has_alpha = alpha.most > 0 and any(
        (words(first, end) & alpha.mask).any() for first, end in stripes(bmp.width, bmp.height)
    )

    def make(first: int, end: int) -> NDArray[np.uint8]:
        pixels = words(first, end)
        colours = np.stack([channel.take(pixels) for channel in (red, green, blue)], axis=-1)
        return blend_white(colours, alpha.take(pixels)) if has_alpha else colours

    return make


@dataclass(frozen=True)
class _Channel:
    mask: int
    shift: int
    most: int

    @classmethod
    def of(cls, mask: int) -> "_Channel":
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        most = mask >> shift
        if most & (most + 1) or most > 0xFFFF:
            raise NotAnImageError(f"the BMP has a mask of {mask:#x}, which is not valid for a channel; save it as PNG")
        return cls(mask, shift, most)

    def take(self, pixels: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """Return the channel in 8 bits."""
        if not self.most:
            return np.zeros(pixels.shape, np.uint8)
        values = (pixels & np.uint32(self.mask)) >> np.uint32(self.shift)
        return ((values * np.uint32(255) + np.uint32(self.most // 2)) // np.uint32(self.most)).astype(np.uint8)


def _run_lengths(bmp: _Bmp) -> bytearray:
    """Return palette indices [H, W] in the stored order of rows; skipped pixels have index 0."""
    data, width = bmp.data, bmp.width
    indices = bytearray(width * bmp.height)
    nibbles = bmp.compression == _RLE4
    position, row, column = bmp.offset, 0, 0
    for _ in range(_MAX_RUNS):
        if position + 2 > len(data):
            raise cut_off()
        count, value = data[position], data[position + 1]
        position += 2
        if count:
            run = bytes((value >> 4, value & 15)) * (count + 1 >> 1) if nibbles else bytes((value,)) * count
        elif value == 0:
            row, column = row + 1, 0
            continue
        elif value == 1:
            return indices
        elif value == 2:
            if position + 2 > len(data):
                raise cut_off()
            column, row, position = column + data[position], row + data[position + 1], position + 2
            continue
        else:
            count = value
            stored = data[position : position + (count + 1 >> 1 if nibbles else count)]
            run = bytes(nibble for pair in stored for nibble in (pair >> 4, pair & 15)) if nibbles else stored
            position += len(stored) + (len(stored) & 1)
        if row >= bmp.height:
            return indices  # complete, although the end marker is missing
        fits = max(0, min(count, width - column, len(run)))
        start = row * width + column
        indices[start : start + fits] = run[:fits]
        column += count
    raise NotAnImageError(f"the BMP has more than {_MAX_RUNS} runs; save it as PNG, or without compression")
