"""BMP files built byte by byte: every header, depth, mask and run-length code."""

import struct
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.imaging.corpus.kinds import Kind, Pixels, chart, eight, grey, over_white
from tests.imaging.corpus.png import colours, packed

RAW, RLE8, RLE4, BITFIELDS, ALPHABITFIELDS = 0, 1, 2, 3, 6


def bmp(
    rows: bytes,
    size: tuple[int, int],
    depth: int,
    header: int = 40,
    compression: int = RAW,
    palette: Pixels | None = None,
    masks: tuple[int, ...] = (),
    top_down: bool = False,
    gap: int = 0,
) -> bytes:
    """Return a file of stored `rows`; `masks` are of red, green, blue, alpha; `gap` bytes precede the pixels."""
    width, height = size
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, depth)
    else:
        used = 0 if palette is None or len(palette) == 2**depth else len(palette)
        info = struct.pack(
            "<IiiHHIIiiII",
            header,
            width,
            -height if top_down else height,
            1,
            depth,
            compression,
            len(rows),
            0,
            0,
            used,
            0,
        )
        if header >= 52:
            info += struct.pack("<4I", *(*masks, 0, 0, 0, 0)[:4])
        info = info[:header].ljust(header, b"\0")
        if header == 40:
            info += struct.pack(f"<{len(masks)}I", *masks)
    table = b""
    if palette is not None:
        entries = [palette[:, ::-1]] if header == 12 else [palette[:, ::-1], np.zeros((len(palette), 1), np.uint8)]
        table = np.concatenate(entries, axis=1).astype(np.uint8).tobytes()
    offset = 14 + len(info) + len(table) + gap
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + info + table + bytes(gap) + rows


def stored(rows: NDArray[np.uint8], top_down: bool = False) -> bytes:
    """Return rows of bytes, padded to multiples of four, bottom-up by default."""
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    return (rows if top_down else rows[::-1]).tobytes()


def words(channels: NDArray[np.uint16], masks: tuple[int, ...], depth: int) -> NDArray[np.uint8]:
    """Return channels [H, W, C] as rows of little-endian words, each channel shifted to its mask."""
    whole = np.zeros(channels.shape[:2], np.uint32)
    for channel, mask in enumerate(masks):
        whole |= channels[..., channel].astype(np.uint32) << np.uint32((mask & -mask).bit_length() - 1)
    return whole.astype(f"<u{depth // 8}").view(np.uint8).reshape(len(whole), -1)


def bmp_kinds() -> Iterator[Kind]:
    rgb = eight(chart(most=255), 8)
    size = (45, 37)
    for depth in (1, 2, 4, 8):
        values = chart(channels=1, most=2**depth - 1)
        for header in (12, 40, 108) if depth != 2 else (40,):
            make = partial(bmp, stored(packed(values, depth)), size, depth, header, palette=colours(depth))
            yield Kind(f"BMP {depth} bit, header of {header}", make, colours(depth)[values[..., 0]])
    for header in (12, 40, 52, 56, 64, 108, 124):
        make = partial(bmp, stored(rgb[..., ::-1].reshape(37, -1)), size, 24, header)
        yield Kind(f"BMP 24 bit, header of {header}", make, rgb)
    down = stored(rgb[..., ::-1].reshape(37, -1), top_down=True)
    yield Kind("BMP 24 bit, top-down", partial(bmp, down, size, 24, top_down=True), rgb)
    yield Kind(
        "BMP with a gap before its pixels", partial(bmp, stored(rgb[..., ::-1].reshape(37, -1)), size, 24, gap=10), rgb
    )
    yield Kind(
        "BMP without the last row's padding", lambda: bmp(stored(rgb[..., ::-1].reshape(37, -1)), size, 24)[:-1], rgb
    )
    yield from _palettes()
    yield from _masks(rgb)
    yield from _runs()
    yield from _refused(rgb)


def _palettes() -> Iterator[Kind]:
    """Yield palettes shorter than the depth allows, some of them grey."""
    for depth, count in ((8, 2), (8, 16), (4, 2), (4, 16), (8, 256), (1, 2)):
        ramp = grey(np.linspace(0, 255, count).astype(np.uint8)[:, np.newaxis])[:, 0]
        short = grey(np.arange(count, dtype=np.uint8)[:, np.newaxis])[:, 0]
        values = chart(channels=1, most=count - 1)
        for name, palette in (("a ramp", ramp), ("a few greys", short)):
            make = partial(bmp, stored(packed(values, depth)), (45, 37), depth, palette=palette)
            yield Kind(f"BMP {depth} bit, palette of {count}, {name}", make, palette[values[..., 0]])


def _masks(rgb: Pixels) -> Iterator[Kind]:
    size = (45, 37)
    cases: dict[str, tuple[int, ...]] = {
        "16 bit 555": (0x7C00, 0x3E0, 0x1F),
        "16 bit 565": (0xF800, 0x7E0, 0x1F),
        "16 bit 444": (0xF00, 0xF0, 0xF),
        "32 bit BGRX": (0xFF0000, 0xFF00, 0xFF),
        "32 bit RGBX": (0xFF, 0xFF00, 0xFF0000),
        "32 bit XBGR": (0xFF000000, 0xFF0000, 0xFF00),
        "32 bit of 10 bits each": (0x3FF00000, 0xFFC00, 0x3FF),
    }
    for name, masks in cases.items():
        bits = [mask.bit_count() for mask in masks]
        values = np.dstack([chart(most=2**count - 1)[..., channel] for channel, count in enumerate(bits)])
        pixels = np.dstack([eight(values[..., channel], count) for channel, count in enumerate(bits)])
        rows = stored(words(values, masks, int(name[:2])))
        for header in (40, 56):
            make = partial(bmp, rows, size, int(name[:2]), header, BITFIELDS, masks=masks)
            yield Kind(f"BMP {name}, header of {header}", make, pixels)
    plain = words(chart(most=31), cases["16 bit 555"], 16)
    yield Kind("BMP 16 bit without masks", partial(bmp, stored(plain), size, 16), eight(chart(most=31), 5))
    unused = np.dstack([rgb[..., ::-1], np.zeros((37, 45), np.uint8)])
    yield Kind("BMP 32 bit without masks, fourth byte 0", partial(bmp, stored(unused.reshape(37, -1)), size, 32), rgb)
    unused[..., 3] = chart(channels=4, most=255)[..., 3]
    yield Kind(
        "BMP 32 bit without masks, fourth byte not 0", partial(bmp, stored(unused.reshape(37, -1)), size, 32), rgb
    )
    channels = chart(channels=4, most=255)
    for name, masks in {
        "BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        "ABGR": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    }.items():
        over = over_white(eight(channels[..., :3], 8), eight(channels[..., 3], 8))
        for header in (56, 124):
            make = partial(bmp, stored(words(channels, masks, 32)), size, 32, header, BITFIELDS, masks=masks)
            yield Kind(f"BMP 32 bit {name}, header of {header}", make, over, at_most=1)
        never = channels.copy()
        never[..., 3] = 0
        make = partial(bmp, stored(words(never, masks, 32)), size, 32, 124, BITFIELDS, masks=masks)
        yield Kind(f"BMP 32 bit {name} with alpha 0 everywhere", make, rgb)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    make = partial(bmp, stored(words(channels, masks, 32)), size, 32, 40, ALPHABITFIELDS, masks=masks)
    yield Kind("BMP 32 bit BGRA, masks after the header", make, over, at_most=1)
    masks = (0x7C00, 0x3E0, 0x1F, 0x8000)
    values = np.dstack([chart(most=31), chart(channels=1, most=1)])
    over = np.where(values[..., 3:] > 0, eight(values[..., :3], 5), np.uint8(255))
    make = partial(bmp, stored(words(values, masks, 16)), size, 16, 56, BITFIELDS, masks=masks)
    yield Kind("BMP 16 bit 1555 with alpha", make, over)


def _runs() -> Iterator[Kind]:
    """Yield four rows of four pixels, bottom-up: a run, literal pixels, a jump, and an early end of a line."""
    palette = colours(8)
    encoded = b"\4\7\0\0" + b"\0\3\1\2\3\0\1\4\0\0" + b"\0\2\2\0\2\5\0\0" + b"\2\6\0\1"
    indices = np.array([[6, 6, 0, 0], [0, 0, 5, 5], [1, 2, 3, 4], [7, 7, 7, 7]])
    yield Kind("BMP RLE8", partial(bmp, encoded, (4, 4), 8, 40, RLE8, palette), palette[indices])
    make = partial(bmp, encoded, (4, 4), 8, 40, RLE8, palette, gap=1)
    yield Kind("BMP RLE8 at an odd offset", make, palette[indices])
    make = partial(bmp, encoded, (4, 4), 8, 40, RLE8, palette, top_down=True)
    yield Kind("BMP RLE8 top-down", make, palette[indices[::-1]])
    few = colours(4)
    encoded = b"\4\x7a\0\0" + b"\0\3\x12\x30\1\x40\0\0" + b"\0\2\2\0\2\x55\0\0" + b"\2\x6b\0\1"
    indices = np.array([[6, 11, 0, 0], [0, 0, 5, 5], [1, 2, 3, 4], [7, 10, 7, 10]])
    yield Kind("BMP RLE4", partial(bmp, encoded, (4, 4), 4, 40, RLE4, few), few[indices])
    yield Kind("BMP RLE8 truncated", partial(bmp, b"\4\7\0\0", (4, 4), 8, 40, RLE8, palette), refused="ends before")


def _refused(rgb: Pixels) -> Iterator[Kind]:
    rows, size = stored(rgb[..., ::-1].reshape(37, -1)), (45, 37)
    yield Kind("BMP truncated", lambda: bmp(rows, size, 24)[:-200], refused="ends before")
    yield Kind("BMP truncated in its header", lambda: bmp(rows, size, 24)[:30], refused="ends before")
    yield Kind("BMP that holds a JPEG", partial(bmp, rows, size, 24, compression=4), refused="compression 4")
    yield Kind("BMP of zero width", partial(bmp, rows, (0, 37), 24), refused="claims 0×37")
    masks = (0xF0F, 0xF0, 0xF)
    yield Kind(
        "BMP with a mask with holes",
        partial(bmp, rows * 2, size, 32, 40, BITFIELDS, masks=masks),
        refused="mask of 0xf0f",
    )
