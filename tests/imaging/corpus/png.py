"""PNG files built byte by byte: every colour type, depth, filter and transparency, plain and interlaced."""

import itertools
import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.imaging.corpus.kinds import Kind, Pixels, chart, eight, grey, over_white
from tests.service.pictures import png_chunk

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
NAMES = {GREY: "grey", RGB: "RGB", PALETTE: "palette", GREY_ALPHA: "grey and alpha", RGB_ALPHA: "RGBA"}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Values = NDArray[np.uint16]


def packed(values: Values, depth: int) -> NDArray[np.uint8]:
    """Return [H, W, C] as rows of bytes, highest bit first."""
    rows = values.reshape(len(values), -1)
    bits = (rows[..., np.newaxis] >> np.arange(depth - 1, -1, -1, dtype=np.uint16)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(len(values), -1), axis=1)


def filtered(rows: NDArray[np.uint8], step: int) -> bytes:
    """Return rows with the five filters in turn, computed byte by byte as in the standard."""
    made = bytearray()
    above = bytes(rows.shape[1])
    for number, row in enumerate(rows):
        kind, line = number % 5, row.tobytes()
        made.append(kind)
        for index, value in enumerate(line):
            a = line[index - step] if index >= step else 0
            b = above[index]
            c = above[index - step] if index >= step else 0
            guess = a + b - c
            paeth = min((a, b, c), key=lambda near: abs(guess - near))
            made.append(value - (0, a, b, (a + b) // 2, paeth)[kind] & 255)
        above = line
    return bytes(made)


def png(
    values: Values,
    kind: int,
    depth: int,
    interlaced: bool = False,
    before: tuple[tuple[bytes, bytes], ...] = (),
    after: tuple[tuple[bytes, bytes], ...] = (),
    parts: int = 1,
) -> bytes:
    """Return a file with chunks `before` and `after` the pixels, which are split into `parts` chunks."""
    height, width = values.shape[:2]
    step = max(1, CHANNELS[kind] * depth // 8)
    if interlaced:
        cuts = [values[top::down, left::across] for left, top, across, down in PASSES]
        raw = b"".join(filtered(packed(cut, depth), step) for cut in cuts if cut.size)
    else:
        raw = filtered(packed(values, depth), step)
    pixels = zlib.compress(raw)
    size = -(-len(pixels) // parts)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    chunks = [
        (b"IHDR", header),
        *before,
        *((b"IDAT", pixels[at : at + size]) for at in range(0, len(pixels), size)),
        *after,
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, chunks))


def colours(depth: int) -> Pixels:
    """Return a random palette of 2^depth colours."""
    return np.random.default_rng(depth).integers(0, 256, (2**depth, 3), np.uint8)


def shown(values: Values, kind: int, depth: int) -> Pixels:
    if kind == PALETTE:
        return colours(depth)[values[..., 0]]
    small = eight(values, depth)
    if kind == GREY:
        return grey(small)
    if kind == RGB:
        return small
    return over_white(grey(small[..., 0]) if kind == GREY_ALPHA else small[..., :3], small[..., -1])


def png_kinds() -> Iterator[Kind]:
    for kind, depth in ((kind, depth) for kind, depths in DEPTHS.items() for depth in depths):
        values = chart(channels=CHANNELS[kind], most=2**depth - 1)
        needed = ((b"PLTE", colours(depth).tobytes()),) if kind == PALETTE else ()
        pixels = shown(values, kind, depth)
        alpha = kind in {GREY_ALPHA, RGB_ALPHA}
        for interlaced in (False, True):
            yield Kind(
                f"PNG {NAMES[kind]} {depth} bit{' interlaced' * interlaced}",
                partial(png, values, kind, depth, interlaced, needed),
                pixels,
                at_most=1 if alpha else 0,
            )
        if alpha:
            continue
        if kind == PALETTE:
            opacity = np.linspace(0, 255, 2**depth).astype(np.uint8)
            chunks = (*needed, (b"tRNS", opacity.tobytes()))
            over = over_white(pixels, opacity[values[..., 0]])
        else:
            key = values[7, 11]
            hidden = (values == key).all(axis=2)
            assert hidden.any()
            chunks = ((b"tRNS", key.astype(">u2").tobytes()),)
            over = np.where(hidden[..., np.newaxis], np.uint8(255), pixels)
        yield Kind(
            f"PNG {NAMES[kind]} {depth} bit, tRNS", partial(png, values, kind, depth, False, chunks), over, at_most=1
        )
    yield from _keys_of_16_bits()
    yield from _sizes()
    yield from _chunks()
    yield from _refused()


def _keys_of_16_bits() -> Iterator[Kind]:
    """Yield transparent values of 16 bits whose neighbours with the same high byte are opaque."""
    values = np.array([[[0x1234] * 3, [0x1235] * 3, [0x1334] * 3]], np.uint16)
    over = grey(np.array([[255, 0x12, 0x13]], np.uint8))
    for kind, name in ((GREY, "grey"), (RGB, "RGB")):
        cut = values[..., : CHANNELS[kind]]
        chunk = (b"tRNS", cut[0, 0].astype(">u2").tobytes())
        yield Kind(f"PNG {name} 16 bit, tRNS among close values", partial(png, cut, kind, 16, False, (chunk,)), over)


def _sizes() -> Iterator[Kind]:
    for height, width in ((1, 1), (1, 1000), (1000, 1), (3, 2), (2, 9)):
        for interlaced in (False, True):
            values = chart(height, width, 3, 255)
            name = f"PNG {width}×{height}{' interlaced' * interlaced}"
            yield Kind(name, partial(png, values, RGB, 8, interlaced), eight(values, 8))


def _chunks() -> Iterator[Kind]:
    values = chart(most=255)
    pixels = eight(values, 8)
    plain = png(values, RGB, 8)
    text = zlib.compress(b'{"x":1}' * 300_000)
    chunks = {
        "zTXt of 2 MB": (b"zTXt", b"workflow\0\0" + text),
        "compressed iTXt of 2 MB": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text),
        "iTXt of 2 MB": (b"iTXt", b"note\0\0\0\0\0" + b"x" * 2**21),
        "tEXt of 2 MB": (b"tEXt", b"note\0" + b"x" * 2**21),
        "iCCP of 2 MB": (b"iCCP", b"printer\0\0" + text),
        "iCCP that is not zlib": (b"iCCP", b"printer\0\0garbage"),
        "iCCP without a name": (b"iCCP", b""),
        "text in no encoding": (b"iTXt", b"\xff\xfe\0\0\0"),
        "gAMA of the wrong length": (b"gAMA", b"\0"),
        "pHYs of the wrong length": (b"pHYs", b""),
        "tRNS too short": (b"tRNS", b"\0"),
        "a private chunk": (b"prVt", b"x" * 100),
        "an orientation in XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"),
        "an invalid acTL": (b"acTL", b""),
        "a suggested palette": (b"PLTE", bytes(30)),
    }
    for name, chunk in chunks.items():
        yield Kind(f"PNG with {name}", partial(png, values, RGB, 8, False, (chunk,)), pixels)
    for name, chunk in list(chunks.items())[:6]:
        yield Kind(f"PNG with {name} at the end", partial(png, values, RGB, 8, False, (), (chunk,)), pixels)
    wrong = png_chunk(b"tEXt", b"note\0x")[:-1] + b"?"
    yield Kind("PNG with a wrong checksum of text", lambda: plain[:33] + wrong + plain[33:], pixels)
    yield Kind("PNG with a wrong checksum of text at the end", lambda: plain[:-12] + wrong + plain[-12:], pixels)
    yield Kind("PNG in 50 parts", partial(png, values, RGB, 8, parts=50), pixels)
    yield Kind("PNG with an empty part", partial(png, values, RGB, 8, False, ((b"IDAT", b""),)), pixels)
    yield Kind("PNG with trailing bytes", lambda: plain + b"trailing" * 100, pixels)
    animation = (b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", struct.pack(">IIIIIHHBB", 0, 45, 37, 0, 0, 1, 10, 0, 0))
    frame = struct.pack(">IIIIIHHBB", 1, 5, 5, 3, 3, 1, 10, 0, 0)
    more = (b"fcTL", frame), (b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(5 * 16)))
    yield Kind("APNG", partial(png, values, RGB, 8, False, animation, more), pixels)
    few = ((b"PLTE", colours(8)[:3].tobytes()),)
    indices = np.array([[[0], [2], [3], [255]]], np.uint16)
    beyond = np.vstack([colours(8)[[0, 2]], np.zeros((2, 3), np.uint8)])[np.newaxis]
    yield Kind("PNG with indices beyond its palette", partial(png, indices, PALETTE, 8, False, few), beyond)


def _refused() -> Iterator[Kind]:
    values = chart(most=255)
    plain = png(values, RGB, 8)
    start = plain.index(b"IDAT")

    def without_rows(interlaced: bool) -> bytes:
        header = struct.pack(">IIBBBBB", 45, 38, 8, RGB, 0, 0, interlaced)
        whole = png(values, RGB, 8, interlaced)
        return whole[:8] + png_chunk(b"IHDR", header) + whole[33:]

    black = png(np.zeros((8, 8, 1), np.uint16), GREY, 8)
    yield Kind("PNG of fewer rows than it claims", partial(without_rows, False), refused="ends before")
    yield Kind("PNG of fewer rows, interlaced", partial(without_rows, True), refused="ends before")
    yield Kind("PNG truncated at half", lambda: plain[: len(plain) // 2], refused="ends before")
    yield Kind("PNG truncated by a byte", lambda: plain[:-1], refused="ends before")
    yield Kind("PNG without IEND", lambda: plain[:-12], refused="ends before")
    yield Kind(
        "PNG with a wrong checksum of pixels", lambda: plain[: start + 9] + b"?" + plain[start + 10 :], refused="IDAT"
    )
    yield Kind("PNG without pixels", lambda: plain[:33] + plain[-12:], refused="no pixels")
    yield Kind("PNG without a palette", partial(png, values[..., :1], PALETTE, 8), refused="palette")
    yield Kind("PNG of Apple's variant", lambda: plain[:8] + png_chunk(b"CgBI", b"\0" * 4) + plain[8:], refused="CgBI")
    yield Kind(
        "PNG with an unknown critical chunk",
        lambda: plain[:33] + png_chunk(b"XyZw", b"") + plain[33:],
        refused="XyZw",
    )
    yield Kind("PNG transferred as text", lambda: plain.replace(b"\r\n", b"\n"), refused="binary mode")
    yield Kind("PNG 0×0", lambda: black[:8] + png_chunk(b"IHDR", bytes(8) + black[24:29]) + black[33:], refused="0×0")
    bad = struct.pack(">IIBBBBB", 8, 8, 3, 0, 0, 0, 0)
    yield Kind("PNG of 3 bits", lambda: black[:8] + png_chunk(b"IHDR", bad) + black[33:], refused="not valid")
    yield Kind("PNG black to its last row", lambda: black, grey(np.zeros((8, 8), np.uint8)))
