"""GIF files by Pillow, and built byte by byte for frames smaller than the screen and missing palettes."""

import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.imaging.corpus.kinds import Kind, Pixels, chart, grey
from tests.imaging.corpus.png import colours
from tests.service.pictures import encode

CLEAR, END = 256, 257


def blocks(indices: NDArray[np.uint8]) -> bytes:
    """Return indices as LZW codes of 9 bits, with the table cleared before it grows."""
    codes = []
    for number, index in enumerate(indices.ravel().tolist()):
        codes += [CLEAR, index] if number % 200 == 0 else [index]
    codes.append(END)
    bits = sum(code << 9 * place for place, code in enumerate(codes))
    raw = bits.to_bytes(-(-9 * len(codes) // 8), "little")
    parts = [raw[at : at + 255] for at in range(0, len(raw), 255)]
    return b"\x08" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def gif(
    indices: NDArray[np.uint8],
    screen: tuple[int, int] | None = None,
    at: tuple[int, int] = (0, 0),
    palette: Pixels | None = None,
    own: Pixels | None = None,
    transparent: int | None = None,
    interlaced: bool = False,
    version: bytes = b"89a",
    between: bytes = b"",
    end: bytes = b";",
) -> bytes:
    height, width = indices.shape
    flags = 0xF7 if palette is not None else 0x70
    made = b"GIF" + version + struct.pack("<HHBBB", *(screen or (width, height)), flags, 0, 0)
    made += palette.tobytes() if palette is not None else b""
    if transparent is not None:
        made += b"!\xf9\4\1\0\0" + bytes([transparent]) + b"\0"
    made += between
    local = (0x87 if own is not None else 0) | 0x40 * interlaced
    made += b"," + struct.pack("<HHHHB", *at, width, height, local) + (own.tobytes() if own is not None else b"")
    if interlaced:
        order = [row for first, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for row in range(first, height, step)]
        indices = indices[order]
    return made + blocks(indices) + end


def gif_kinds() -> Iterator[Kind]:
    indices = chart(channels=1, most=255)[..., 0].astype(np.uint8)
    table, other = colours(8), colours(8)[::-1].copy()
    pixels = table[indices]
    yield Kind("GIF 89a", partial(gif, indices, palette=table), pixels)
    yield Kind("GIF 87a", partial(gif, indices, palette=table, version=b"87a"), pixels)
    yield Kind("GIF interlaced", partial(gif, indices, palette=table, interlaced=True), pixels)
    yield Kind("GIF with a palette of its frame", partial(gif, indices, palette=table, own=other), other[indices])
    yield Kind("GIF without any palette", partial(gif, indices), grey(indices))
    yield Kind("GIF without a trailer", partial(gif, indices, palette=table, end=b""), pixels)
    hidden = np.where((indices == 77)[..., np.newaxis], np.uint8(255), pixels)
    yield Kind("GIF with a transparent colour", partial(gif, indices, palette=table, transparent=77), hidden)
    beside = np.full((60, 70, 3), 255, np.uint8)
    beside[11:48, 7:52] = pixels
    yield Kind("GIF whose frame is smaller than its screen", partial(gif, indices, (70, 60), (7, 11), table), beside)
    beside[11:48, 7:52] = hidden
    make = partial(gif, indices, (70, 60), (7, 11), table, transparent=77)
    yield Kind("GIF whose frame is smaller than its screen, with a transparent colour", make, beside)
    larger = np.full((48, 52, 3), 255, np.uint8)
    larger[11:, 7:] = pixels
    yield Kind("GIF whose frame is larger than its screen", partial(gif, indices, (5, 5), (7, 11), table), larger)
    comment = b"!\xfe" + b"\xff" + b"x" * 255 + b"\0"
    yield Kind("GIF with comments", partial(gif, indices, palette=table, between=comment * 50), pixels)
    text = b"!\x01\x0c" + bytes(12) + b"\1x\0"
    yield Kind("GIF with text", partial(gif, indices, palette=table, between=text), pixels)
    image = Image.fromarray(table[indices]).quantize(32)
    make = partial(encode, image, "GIF", save_all=True, append_images=[Image.new("P", image.size)])
    yield Kind("GIF by Pillow, animated", make, np.asarray(image.convert("RGB")))
    yield Kind("GIF by Pillow", partial(encode, image, "GIF"), np.asarray(image.convert("RGB")))
    whole = gif(indices, palette=table)
    yield Kind("GIF truncated", lambda: whole[: len(whole) - 300], refused="ends before")
    yield Kind("GIF truncated in its header", lambda: whole[:20], refused="ends before")
    yield Kind("GIF without a frame", lambda: whole[: 13 + 768] + b";", refused="no frame")
    yield Kind("GIF of fewer rows than it claims", lambda: _taller(whole), refused="ends before")


def _taller(whole: bytes) -> bytes:
    at = whole.index(b",", 13 + 768)
    return whole[: at + 7] + struct.pack("<H", 60) + whole[at + 9 :]
