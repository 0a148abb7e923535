"""WebP and AVIF files by Pillow's encoders."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from tests.imaging.corpus.kinds import Kind, Pixels, chart, eight, grey, over_white
from tests.service.pictures import encode

ON_AVERAGE = 3
"""Mean error allowed for lossy coding, of 255."""


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def webp_kinds() -> Iterator[Kind]:
    rgba = eight(chart(channels=4, most=255), 8)
    rgb, over = rgba[..., :3].copy(), over_white(rgba[..., :3], rgba[..., 3])
    yield Kind("WebP lossless", partial(encode, rgb, "WEBP", lossless=True), rgb)
    yield Kind("WebP lossy", partial(encode, rgb, "WEBP", quality=95), rgb, at_most=40, on_average=ON_AVERAGE)
    make = partial(encode, rgba, "WEBP", lossless=True, exact=True)
    yield Kind("WebP lossless with alpha", make, over, at_most=1)
    make = partial(encode, rgba, "WEBP", quality=95)
    yield Kind("WebP lossy with alpha", make, over, at_most=40, on_average=ON_AVERAGE)
    more = [Image.new("RGB", (45, 37), "blue")]
    make = partial(encode, Image.fromarray(rgb), "WEBP", lossless=True, save_all=True, append_images=more)
    yield Kind("WebP animated", make, rgb)
    for lossless in (True, False):
        beside = np.full((60, 80, 3), 255, np.uint8)
        beside[10:47, 20:65] = over
        make = partial(_animated, encode(rgba, "WEBP", lossless=lossless, exact=True, quality=95), (80, 60), (20, 10))
        near: dict[str, Any] = {"at_most": 1} if lossless else {"at_most": 40, "on_average": ON_AVERAGE}
        yield Kind(f"WebP with a small frame, {'lossless' if lossless else 'lossy'}", make, beside, **near)
    for orientation in range(2, 9):
        make = partial(encode, rgb, "WEBP", lossless=True, exif=oriented(orientation))
        yield Kind(f"WebP of orientation {orientation}", make, upright(rgb, orientation))
    xmp = b"<x tiff:Orientation='6'/>"
    yield Kind("WebP with an orientation in XMP", partial(encode, rgb, "WEBP", lossless=True, xmp=xmp), rgb)
    whole = encode(rgb, "WEBP", lossless=True)
    yield Kind("WebP truncated", lambda: whole[: len(whole) // 2], refused="damaged")
    yield Kind("WebP truncated in its header", lambda: whole[:18], refused="ends before|damaged")
    yield Kind("WebP with another chunk first", lambda: whole[:12] + b"ABCD" + whole[16:], refused="not a header")
    yield Kind("WebP with a trailing chunk", lambda: _with_chunk(whole), rgb)


def _animated(still: bytes, canvas: tuple[int, int], at: tuple[int, int]) -> bytes:
    """Return an animation of one 45×37 frame with the chunks of a still file."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)

    def three(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(3, "little") for number in numbers)

    chunks = still[30:] if still[12:16] == b"VP8X" else still[12:]
    frame = three(at[0] // 2, at[1] // 2, 44, 36, 100) + b"\0" + chunks
    header = b"\x12\0\0\0" + three(canvas[0] - 1, canvas[1] - 1)
    content = b"WEBP" + chunk(b"VP8X", header) + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _with_chunk(whole: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(whole)) + whole[8:] + b"note" + struct.pack("<I", 0)


def avif_kinds() -> Iterator[Kind]:
    rgba = eight(chart(48, 64, channels=4, most=255), 8)
    rgb, over = rgba[..., :3].copy(), over_white(rgba[..., :3], rgba[..., 3])
    options: dict[str, Any] = {"quality": 95, "subsampling": "4:4:4", "speed": 10}
    near: dict[str, Any] = {"at_most": 40, "on_average": ON_AVERAGE}
    yield Kind("AVIF", partial(encode, rgb, "AVIF", **options), rgb, **near)
    yield Kind("AVIF grey", partial(encode, rgb[..., 0], "AVIF", **options), grey(rgb[..., 0]), **near)
    yield Kind("AVIF with alpha", partial(encode, rgba, "AVIF", **options), over, **near)
    yield Kind("AVIF 4:2:0", partial(encode, rgb, "AVIF", quality=95, speed=10), rgb, at_most=60, on_average=ON_AVERAGE)
    for orientation in (3, 6):
        make = partial(encode, rgb, "AVIF", **options, exif=oriented(orientation))
        yield Kind(f"AVIF of orientation {orientation}", make, upright(rgb, orientation), **near)
    whole = encode(rgb, "AVIF", **options)
    yield Kind("AVIF whose brands are general", lambda: whole.replace(b"ftypavif", b"ftypmif1", 1), rgb, **near)
    yield Kind("AVIF truncated", lambda: whole[: len(whole) // 2], refused="damaged")


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return the upright pixels of stored `pixels` with an EXIF orientation."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }[orientation]
