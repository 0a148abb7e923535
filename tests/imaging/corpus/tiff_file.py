"""A writer of TIFF files: any bits, byte order, planes, strips or tiles, and four compressions.

Written from the specification (TIFF 6.0), and independent of the libraries under test.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
Tags = Mapping[int, tuple[int, ...] | bytes]


@dataclass(frozen=True)
class Tiff:
    """Layout of the samples in a file.

    Attributes:
        bits: bits per sample.
        photometric: value of PhotometricInterpretation.
        order: `<` for little-endian, `>` for big-endian.
        big: write BigTIFF.
        planar: store each channel separately.
        compression: one of the four above.
        predictor: store differences along rows.
        rows_per_strip: rows per strip; None for a single strip.
        tile: (height, width) of tiles; None for strips.
        reversed: lowest bit first (FillOrder 2).
        tags: additional or replaced tags.
    """

    bits: int = 8
    photometric: int = 1
    order: str = "<"
    big: bool = False
    planar: bool = False
    compression: int = NONE
    predictor: bool = False
    rows_per_strip: int | None = 10
    tile: tuple[int, int] | None = None
    reversed: bool = False
    tags: Tags = field(default_factory=dict)

    def __call__(self, values: NDArray[np.uint16]) -> bytes:
        """Return the file of values [H, W, C]."""
        height, width, channels = values.shape
        planes = [values[..., channel : channel + 1] for channel in range(channels)] if self.planar else [values]
        pieces = [self._compressed(piece) for plane in planes for piece in self._pieces(plane)]
        rows = self.rows_per_strip or height
        where: Tags = {273: (0,), 278: (rows,), 279: (0,)}
        if self.tile:
            where = {322: (self.tile[1],), 323: (self.tile[0],), 324: (0,), 325: (0,)}
        tags: Tags = {
            256: (width,),
            257: (height,),
            258: (self.bits,) * channels,
            259: (self.compression,),
            262: (self.photometric,),
            277: (channels,),
            284: (2 if self.planar else 1,),
            **({317: (2,)} if self.predictor else {}),
            **({266: (2,)} if self.reversed else {}),
            **where,
            **self.tags,
        }
        return written(pieces, tags, self.order, self.big)

    def _pieces(self, plane: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
        height, width, _ = plane.shape
        if self.tile is None:
            rows = self.rows_per_strip or height
            return [plane[top : top + rows] for top in range(0, height, rows)]
        tall, wide = self.tile
        padded = np.pad(plane, ((0, -height % tall), (0, -width % wide), (0, 0)), mode="edge")
        return [
            padded[top : top + tall, left : left + wide]
            for top in range(0, height, tall)
            for left in range(0, width, wide)
        ]

    def _compressed(self, piece: NDArray[np.uint16]) -> bytes:
        if self.predictor:
            first = piece[:, :1]
            piece = np.concatenate([first, np.diff(piece.astype(np.int64), axis=1)], axis=1) & (2**self.bits - 1)
        flat = piece.reshape(len(piece), -1)
        if self.bits == 16:
            rows = flat.astype(self.order + "u2").view(np.uint8)
        else:
            bits = flat[..., np.newaxis].astype(np.uint16) >> np.arange(self.bits - 1, -1, -1, dtype=np.uint16) & 1
            rows = np.packbits(bits.astype(np.uint8).reshape(len(piece), -1), axis=1)
        raw = np.ascontiguousarray(rows).tobytes()
        made = CODECS[self.compression](raw, rows.shape[1])
        return bytes(int(f"{byte:08b}"[::-1], 2) for byte in made) if self.reversed else made


def written(pieces: list[bytes], tags: Tags, order: str = "<", big: bool = False) -> bytes:
    """Return a TIFF of pieces and tags, with offsets and sizes of the pieces filled in."""
    made = bytearray(
        (b"II" if order == "<" else b"MM")
        + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    )
    offsets = []
    for piece in pieces:
        made += bytes(len(made) & 1)
        offsets.append(len(made))
        made += piece
    given = dict(tags)
    for tag, numbers in ((273, offsets), (324, offsets), (279, map(len, pieces)), (325, map(len, pieces))):
        if tag in given:
            given[tag] = tuple(numbers)
    entries = []
    for tag, value in sorted(given.items()):
        kind, content = _value(value, order)
        count = len(content) // {7: 1, 3: 2, 4: 4, 5: 8}[kind]
        if len(content) > (8 if big else 4):
            made += bytes(len(made) & 1)
            place = len(made)
            made += content
            content = struct.pack(order + ("Q" if big else "I"), place)
        entries.append(struct.pack(order + ("HHQ8s" if big else "HHI4s"), tag, kind, count, content))
    made += bytes(len(made) & 1)
    start = len(made)
    made += struct.pack(order + ("Q" if big else "H"), len(entries)) + b"".join(entries) + bytes(8 if big else 4)
    struct.pack_into(order + ("Q" if big else "I"), made, 8 if big else 4, start)
    return bytes(made)


def _value(value: tuple[int, ...] | bytes, order: str) -> tuple[int, bytes]:
    """Return type and content of a tag: bytes unchanged, pairs as RATIONAL, numbers as SHORT if they fit."""
    if isinstance(value, bytes):
        return 7, value
    if all(isinstance(number, tuple) for number in value):
        return 5, b"".join(struct.pack(order + "II", *pair) for pair in value)  # type: ignore[misc]
    kind, letter = (3, "H") if max(value, default=0) < 65_536 else (4, "I")
    return kind, struct.pack(f"{order}{len(value)}{letter}", *value)


def packbits(raw: bytes, width: int) -> bytes:
    """Return rows coded as runs of repeated bytes and as literals."""
    made = bytearray()
    for start in range(0, len(raw), width):
        line, at = raw[start : start + width], 0
        while at < len(line):
            end = at + 1
            while end < len(line) and end - at < 128 and line[end] == line[at]:
                end += 1
            made += bytes([257 - (end - at), line[at]]) if end - at > 1 else bytes([0, line[at]])
            at = end
    return bytes(made)


def lzw(raw: bytes, _: int) -> bytes:
    """Return TIFF's LZW: codes of 9 to 12 bits, highest bit first, widened one code earlier than in GIF."""
    clear, end = 256, 257
    bits = [(clear, 9)]
    table = {bytes([byte]): byte for byte in range(256)}
    following, width, word = 258, 9, b""
    for byte in raw:
        longer = word + bytes([byte])
        if longer in table:
            word = longer
            continue
        bits.append((table[word], width))
        table[longer] = following
        following += 1
        width = max(9, following.bit_length())
        if following == 4095:
            bits.append((clear, 12))
            table = {bytes([single]): single for single in range(256)}
            following, width = 258, 9
        word = bytes([byte])
    if word:
        bits.append((table[word], width))
        width = max(9, min(12, (following + 1).bit_length()))
    bits.append((end, width))
    joined = "".join(f"{code:0{width}b}" for code, width in bits)
    joined += "0" * (-len(joined) % 8)
    return int(joined, 2).to_bytes(len(joined) // 8, "big")


CODECS: dict[int, Callable[[bytes, int], bytes]] = {
    NONE: lambda raw, _: raw,
    DEFLATE: lambda raw, _: zlib.compress(raw),
    LZW: lzw,
    PACKBITS: packbits,
}
"""Compression functions of bytes and row length, by number."""
