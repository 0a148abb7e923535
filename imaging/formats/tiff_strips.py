"""Strips and tiles of a TIFF: decompression by libtiff, and conversion of the bytes to samples.

libtiff, through Pillow, decodes a synthesised TIFF whose strips are the bytes of 8-bit grey pixels, so the result does
not depend on Pillow's interpretation of the original tags. Tiles are decompressed as consecutive strips. Only faxes,
whose codes represent pixels, stay 1 bit deep. Deflate is inflated here, some rows at a time.
"""

import ctypes
import io
import logging
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin, _imaging

from imaging.errors import cut_off
from imaging.formats.colours import Samples, rows_of
from imaging.formats.tiff_layout import DEFLATE, FAX, NONE, Layout

logger = logging.getLogger(__name__)

Rows = Callable[[int, int], NDArray[np.uint8]]
"""Maps the first row and the one after the last to their stored bytes, uint8 [h, bytes per row]."""


@cache
def silence_libtiff() -> None:
    """Disable libtiff's messages about damaged files, which it writes to stderr instead of the log."""
    try:
        libtiff = ctypes.CDLL(_imaging.__file__)
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
    except (AttributeError, OSError):
        logger.info("libtiff's messages about damaged TIFF files cannot be disabled; they go to stderr")


def stored_rows(data: bytes, layout: Layout, tags: dict[int, int], indices: list[int], rows: int) -> Rows:
    """Return a function that reads decompressed rows of strips or of a tile.

    Args:
        data: the file.
        layout: layout of its first image.
        tags: T4Options and T6Options of a fax.
        indices: indices of consecutive strips, or of one tile.
        rows: total number of stored rows.
    """
    width = row_bytes(layout)
    if layout.compression == NONE:
        return _uncompressed(data, layout, indices, rows, width)
    parts = [part(data, layout, index) for index in indices]
    if layout.compression in DEFLATE:
        return _inflated(parts, layout, rows, width)
    step = rows if layout.tiled else min(stored_height(layout, layout.tile_height), rows)
    fax = layout.compression in FAX
    made = _made_tiff(parts, layout, tags, (layout.tile_width if fax else width, rows), step)
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(made))
    del made
    image.load()
    if fax:
        return lambda first, end: np.packbits(rows_of(image, first, end), axis=1)
    return lambda first, end: rows_of(image, first, end)


def row_bytes(layout: Layout) -> int:
    """Return the size of a stored row in bytes; for subsampled colours, of a row of blocks."""
    if layout.subsampled:
        across, down = layout.subsampling
        return -(-layout.tile_width // across) * (across * down + 2)
    interleaved = 1 if layout.planar else layout.samples
    return (layout.tile_width * interleaved * layout.bits + 7) // 8


def stored_height(layout: Layout, rows: int) -> int:
    """Return the number of stored rows for `rows` of the image; subsampled colours are stored in rows of blocks."""
    return -(-rows // layout.subsampling[1]) if layout.subsampled else rows


def _uncompressed(data: bytes, layout: Layout, indices: list[int], rows: int, width: int) -> Rows:
    step = rows if layout.tiled else min(stored_height(layout, layout.tile_height), rows)
    parts = []
    for place, index in enumerate(indices):
        start, count = int(layout.offsets[index]), min(step, rows - place * step)
        if start + count * width > len(data):
            raise cut_off()
        parts.append(np.frombuffer(data, np.uint8, count * width, start).reshape(count, width))
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if layout.fill_order == 2:
        return lambda first, end: _REVERSED[whole[first:end]]
    return lambda first, end: whole[first:end]


def _inflated(parts: list[memoryview], layout: Layout, rows: int, width: int) -> Rows:
    """Return a function that inflates rows sequentially on demand, because a strip may be the whole image."""
    step = rows if layout.tiled else min(stored_height(layout, layout.tile_height), rows)
    streams = (_Stream(found, layout.fill_order == 2) for found in parts)
    stream = next(streams)

    def read(first: int, end: int) -> NDArray[np.uint8]:
        nonlocal stream
        made = bytearray()
        row = first
        while row < end:
            if row and row % step == 0:
                stream = next(streams)
            until = min(end, (row // step + 1) * step)
            made += stream.read((until - row) * width)
            row = until
        return np.frombuffer(made, np.uint8).reshape(end - first, width)

    return read


class _Stream:
    """Deflate stream that is read in parts."""

    def __init__(self, compressed: memoryview, backwards: bool) -> None:
        self._rest: bytes | memoryview = bytes(compressed).translate(_REVERSED.tobytes()) if backwards else compressed
        self._inflater = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        found = self._inflater.decompress(self._rest, size)
        self._rest = self._inflater.unconsumed_tail
        if len(found) < size:
            raise cut_off()
        return found


_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1)[:, ::-1], axis=1)[:, 0]
"""Table of bytes with reversed bits."""


def part(data: bytes, layout: Layout, index: int) -> memoryview:
    """Return the compressed bytes of a strip or tile."""
    if layout.counts is None or index >= len(layout.counts):
        raise cut_off()
    start, count = int(layout.offsets[index]), int(layout.counts[index])
    if count <= 0 or start + count > len(data):
        raise cut_off()
    return memoryview(data)[start : start + count]


def _made_tiff(
    parts: list[memoryview], layout: Layout, tags: dict[int, int], size: tuple[int, int], rows_per_strip: int
) -> bytes:
    """Return a little-endian TIFF with one sample per pixel and `parts` as strips."""
    counts = [len(found) for found in parts]
    at = 8 + sum(counts)
    at += at & 1
    numbers = len(parts)
    inline = numbers == 1
    offsets = np.cumsum([8, *counts[:-1]]).astype("<u4").tobytes()
    sizes = np.array(counts, "<u4").tobytes()
    entries = {
        256: (4, 1, size[0]),
        257: (4, 1, size[1]),
        258: (3, 1, 1 if layout.compression in FAX else 8),
        259: (3, 1, layout.compression),
        262: (3, 1, 1),
        266: (3, 1, layout.fill_order),
        273: (4, numbers, 8 if inline else at),
        277: (3, 1, 1),
        278: (4, 1, rows_per_strip),
        279: (4, numbers, counts[0] if inline else at + 4 * numbers),
        **{tag: (4, 1, value) for tag, value in tags.items()},
    }
    directory = at if inline else at + 8 * numbers
    return b"".join(
        [
            struct.pack("<2sHI", b"II", 42, directory),
            *parts,
            bytes(at - 8 - sum(counts)),
            b"" if inline else offsets + sizes,
            struct.pack("<H", len(entries)),
            *(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items())),
            bytes(4),
        ]
    )


def samples_of(rows: NDArray[np.uint8], layout: Layout, order: str) -> Samples:
    """Return the samples of stored rows: uint8 or uint16 [h, W, channels], with W of the tile.

    Args:
        rows: [h, bytes per row].
        layout: layout of the image.
        order: byte order of 16-bit samples, `<` or `>`.
    """
    channels = 1 if layout.planar else layout.samples
    count = layout.tile_width * channels
    samples: Samples
    if layout.bits == 8:
        samples = rows
    elif layout.bits == 16:
        samples = np.ascontiguousarray(rows).view(order + "u2").astype(np.uint16)
    else:  # packed with the highest bit first, in both byte orders
        bits = np.unpackbits(rows, axis=1)[:, : count * layout.bits].reshape(len(rows), count, layout.bits)
        whole = 8 if layout.bits < 8 else 16
        padded = np.concatenate([np.zeros((*bits.shape[:2], whole - layout.bits), np.uint8), bits], axis=2)
        packed = np.packbits(padded, axis=2)
        samples = packed[..., 0] if whole == 8 else packed.view(">u2")[..., 0].astype(np.uint16)
    samples = samples.reshape(len(rows), layout.tile_width, channels)
    if layout.predictor == 2:
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype)
    return samples
