"""TIFF files: bits, colours, planes, extra samples, byte orders, strips and tiles, compressions."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from tests.imaging.corpus.kinds import Kind, chart, eight, grey, over_white
from tests.imaging.corpus.tiff_file import DEFLATE, LZW, NONE, PACKBITS, Tiff, written
from tests.imaging.corpus.webp_avif import upright
from tests.service.pictures import encode

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
NAMES = {NONE: "uncompressed", LZW: "LZW", DEFLATE: "Deflate", PACKBITS: "PackBits"}
ORDERS = {"<": "little-endian", ">": "big-endian"}
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2


def tiff_kinds() -> Iterator[Kind]:
    yield from _depths()
    yield from _arrangements()
    yield from _extra_samples()
    yield from _palettes()
    yield from _ycbcr()
    yield from _by_pillow()
    yield from _refused()


def _depths() -> Iterator[Kind]:
    for bits in range(1, 17):
        values = chart(channels=1, most=2**bits - 1)
        for order, endian in ORDERS.items():
            if order == ">" and bits not in {8, 12, 16}:
                continue
            for photometric, name in ((BLACK_IS_ZERO, "black"), (WHITE_IS_ZERO, "white")):
                pixels = grey(eight(values if photometric else 2**bits - 1 - values, bits))
                make = partial(Tiff(bits, photometric, order), values)
                yield Kind(f"TIFF grey {bits} bit, {name} is zero, {endian}", make, pixels)
    for bits in (1, 2, 4, 5, 8, 10, 12, 14, 16):
        values = chart(most=2**bits - 1)
        for planar in (False, True):
            for compression in (NONE, LZW) if bits in {8, 12, 16} else (NONE,):
                make = partial(Tiff(bits, RGB, planar=planar, compression=compression), values)
                name = f"TIFF RGB {bits} bit, {'planar' if planar else 'interleaved'}, {NAMES[compression]}"
                yield Kind(name, make, eight(values, bits))
    for bits in (8, 12, 16):
        ink = chart(channels=4, most=2**bits - 1)
        paper = 255 - eight(ink, bits).astype(int)
        pixels = np.rint(paper[..., :3] * paper[..., 3:] / 255).astype(np.uint8)
        for planar in (False, True):
            make = partial(Tiff(bits, CMYK, planar=planar), ink)
            yield Kind(f"TIFF CMYK {bits} bit, {'planar' if planar else 'interleaved'}", make, pixels, at_most=1)


def _arrangements() -> Iterator[Kind]:
    for bits in (8, 16):
        values = chart(most=2**bits - 1)
        pixels = eight(values, bits)
        for compression, name in NAMES.items():
            for order, endian in ORDERS.items():
                make = partial(Tiff(bits, RGB, order, compression=compression), values)
                yield Kind(f"TIFF RGB {bits} bit, {endian}, {name}", make, pixels)
                make = partial(
                    Tiff(bits, RGB, order, compression=compression, tile=(16, 32), planar=order == ">"), values
                )
                yield Kind(f"TIFF RGB {bits} bit, {endian}, {name}, tiled", make, pixels)
            if compression in {LZW, DEFLATE}:
                for order, endian in ORDERS.items():
                    make = partial(Tiff(bits, RGB, order, compression=compression, predictor=True), values)
                    yield Kind(f"TIFF RGB {bits} bit, {endian}, {name}, predictor", make, pixels)
        yield Kind(f"BigTIFF RGB {bits} bit", partial(Tiff(bits, RGB, big=True), values), pixels)
        yield Kind(f"BigTIFF RGB {bits} bit, big-endian", partial(Tiff(bits, RGB, ">", big=True), values), pixels)
        for rows in (1, 7, None):
            for compression in (NONE, LZW):
                make = partial(Tiff(bits, RGB, compression=compression, rows_per_strip=rows), values)
                yield Kind(f"TIFF RGB {bits} bit, {rows or 'all'} rows per strip, {NAMES[compression]}", make, pixels)
    values = chart(channels=1, most=4095)
    pixels = grey(eight(values, 12))
    for compression, name in NAMES.items():
        yield Kind(f"TIFF grey 12 bit, {name}", partial(Tiff(12, compression=compression), values), pixels)
        make = partial(Tiff(12, compression=compression, tile=(32, 16)), values)
        yield Kind(f"TIFF grey 12 bit, {name}, tiled", make, pixels)
    values = chart(channels=1, most=1)
    for compression in (NONE, LZW, PACKBITS):
        make = partial(Tiff(1, compression=compression, reversed=True), values)
        yield Kind(f"TIFF 1 bit, lowest bit first, {NAMES[compression]}", make, grey(eight(values, 1)))
    values = chart(most=255)
    pixels = eight(values, 8)
    for orientation in range(2, 9):
        make = partial(Tiff(8, RGB, tags={274: (orientation,)}), values)
        yield Kind(f"TIFF of orientation {orientation}", make, upright(pixels, orientation))
    for missing in (262, 277):
        yield Kind(f"TIFF RGB without tag {missing}", lambda tag=missing: _without(Tiff(8, RGB)(values), tag), pixels)  # type: ignore[misc]
    yield Kind("TIFF without sizes of its strips", lambda: _without(Tiff(8, RGB)(values), 279), pixels)
    yield Kind("TIFF without rows per strip", lambda: _without(Tiff(8, RGB, rows_per_strip=None)(values), 278), pixels)


def _without(data: bytes, tag: int) -> bytes:
    """Return the file with a tag renumbered to an unknown one."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for index in range(count):
        at = start + 2 + 12 * index
        if struct.unpack_from("<H", data, at) == (tag,):
            return data[:at] + struct.pack("<H", 65_000) + data[at + 2 :]
    raise AssertionError(tag)


def _extra_samples() -> Iterator[Kind]:
    for bits in (8, 16):
        values = chart(channels=4, most=2**bits - 1)
        small = eight(values, bits)
        over = over_white(small[..., :3], small[..., 3])
        multiplied = values.copy()
        multiplied[..., :3] = np.rint(values[..., :3] * (values[..., 3:] / (2**bits - 1)))
        for planar in (False, True):
            name = f"{bits} bit{', planar' * planar}"
            make = partial(Tiff(bits, RGB, planar=planar, tags={338: (UNASSOCIATED,)}), values)
            yield Kind(f"TIFF RGB with alpha {name}", make, over, at_most=1)
            make = partial(Tiff(bits, RGB, planar=planar, tags={338: (ASSOCIATED,)}), multiplied)
            yield Kind(f"TIFF RGB multiplied by alpha {name}", make, over, at_most=2)
            make = partial(Tiff(bits, RGB, planar=planar, tags={338: (UNSPECIFIED,)}), values)
            yield Kind(f"TIFF RGB with an unspecified sample {name}", make, small[..., :3])
        yield Kind(
            f"TIFF RGB with an undeclared sample {bits} bit",
            partial(Tiff(bits, RGB), values),
            over,
            at_most=1,
        )
        two = values[..., [0, 3]]
        over = over_white(grey(small[..., 0]), small[..., 3])
        make = partial(Tiff(bits, BLACK_IS_ZERO, tags={338: (UNASSOCIATED,)}), two)
        yield Kind(f"TIFF grey with alpha {bits} bit", make, over, at_most=1)
        inverse = two.copy()
        inverse[..., 0] = 2**bits - 1 - inverse[..., 0]
        make = partial(Tiff(bits, WHITE_IS_ZERO, tags={338: (UNASSOCIATED,)}), inverse)
        yield Kind(f"TIFF grey with alpha {bits} bit, white is zero", make, over, at_most=1)
        five = chart(channels=5, most=2**bits - 1)
        make = partial(Tiff(bits, RGB, tags={338: (UNSPECIFIED, UNASSOCIATED)}), five)
        small = eight(five, bits)
        yield Kind(
            f"TIFF RGB, unspecified, alpha {bits} bit",
            make,
            over_white(small[..., :3], small[..., 4]),
            at_most=1,
        )
        paper = 255 - small[..., :4].astype(int)
        opaque = np.rint(paper[..., :3] * paper[..., 3:] / 255).astype(np.uint8)
        make = partial(Tiff(bits, CMYK, tags={338: (UNSPECIFIED,)}), five)
        yield Kind(f"TIFF CMYK with an unspecified sample {bits} bit", make, opaque, at_most=1)


def _palettes() -> Iterator[Kind]:
    for bits in (1, 2, 4, 8, 16):
        table = np.random.default_rng(bits).integers(0, 65_536, (2**bits, 3))
        values = chart(channels=1, most=2**bits - 1)
        tags = {320: tuple(table.T.ravel().tolist())}
        make = partial(Tiff(bits, PALETTE, tags=tags), values)
        yield Kind(f"TIFF palette {bits} bit", make, eight(table.astype(np.uint16), 16)[values[..., 0]])
    narrow = np.random.default_rng(0).integers(0, 256, (16, 3))
    values = chart(channels=1, most=15)
    make = partial(Tiff(4, PALETTE, tags={320: tuple(narrow.T.ravel().tolist())}), values)
    yield Kind("TIFF palette of 8-bit colours", make, narrow[values[..., 0]].astype(np.uint8))


def _ycbcr() -> Iterator[Kind]:
    rgb = eight(chart(36, 48, most=255), 8)
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr")).astype(np.uint16)
    for compression in (NONE, LZW):
        make = partial(Tiff(8, YCBCR, compression=compression, tags={530: (1, 1)}), ycc)
        yield Kind(f"TIFF YCbCr, {NAMES[compression]}", make, rgb, at_most=3)
    for across, down in ((2, 1), (2, 2), (4, 2)):
        blocks = ycc.reshape(36 // down, down, 48 // across, across, 3).transpose(0, 2, 1, 3, 4)
        units = np.concatenate(
            [blocks[..., 0].reshape(*blocks.shape[:2], -1), np.rint(blocks[..., 1:].mean(axis=(2, 3)))], axis=2
        ).astype(np.uint8)
        tags = {
            256: (48,),
            257: (36,),
            258: (8, 8, 8),
            259: (1,),
            262: (6,),
            273: (0,),
            277: (3,),
            278: (36,),
            279: (0,),
        }
        subsampling = {} if (across, down) == (2, 2) else {530: (across, down)}  # the default is 2, 2
        data = written([units.tobytes()], {**tags, **subsampling})
        yield Kind(f"TIFF YCbCr {across}×{down}", lambda data=data: data, rgb, at_most=40, on_average=4)  # type: ignore[misc]
    studio = ycc.astype(float)
    studio[..., 0] = studio[..., 0] / 255 * 219 + 16
    studio[..., 1:] = (studio[..., 1:] - 128) / 127 * 112 + 128
    reference = ((16, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1))
    make = partial(Tiff(8, YCBCR, tags={530: (1, 1), 532: reference}), np.rint(studio).astype(np.uint16))  # type: ignore[dict-item]
    yield Kind("TIFF YCbCr in video range", make, rgb, at_most=4)


def _by_pillow() -> Iterator[Kind]:
    rgb = eight(chart(40, 48, most=255), 8)
    bits = np.asarray(Image.fromarray(rgb).convert("1"))
    black_and_white = grey(bits.astype(np.uint8) * np.uint8(255))
    for compression in ("group3", "group4", "tiff_ccitt"):
        for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
            pixels = black_and_white if photometric else 255 - black_and_white
            data = _photometric(encode(Image.fromarray(bits), "TIFF", compression=compression), photometric)
            yield Kind(f"TIFF {compression}, photometric {photometric}", lambda data=data: data, pixels)  # type: ignore[misc]
    near: dict[str, Any] = {"at_most": 30, "on_average": 2}
    for name, image in {"RGB": Image.fromarray(rgb), "grey": Image.fromarray(rgb).convert("L")}.items():
        pixels = np.asarray(image.convert("RGB"))
        make = partial(encode, image, "TIFF", compression="jpeg", quality=95)
        yield Kind(f"TIFF JPEG {name}", make, pixels, **near)
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"):
            yield Kind(
                f"TIFF {compression} {name} by Pillow", partial(encode, image, "TIFF", compression=compression), pixels
            )
    ycc = Image.fromarray(rgb).convert("YCbCr")
    yield Kind("TIFF JPEG YCbCr", partial(encode, ycc, "TIFF", compression="jpeg", quality=95), rgb, **near)
    more = [Image.new("RGB", (48, 40), "blue")]
    yield Kind(
        "TIFF of two pages", partial(encode, Image.fromarray(rgb), "TIFF", save_all=True, append_images=more), rgb
    )


def _photometric(data: bytes, value: int) -> bytes:
    at = data.index(struct.pack("<HHI", 262, 3, 1))
    return data[: at + 8] + struct.pack("<H", value) + data[at + 10 :]


def _refused() -> Iterator[Kind]:
    rgb, one = chart(most=255), chart(channels=1, most=255)
    whole = Tiff(8, RGB)(rgb)
    five = chart(channels=5, most=255)
    cases: dict[str, tuple[bytes, str]] = {
        "of 32-bit integers": (Tiff(16, tags={258: (32,)})(one), "32-bit integers, which have no defined white"),
        "of 64-bit integers": (Tiff(16, tags={258: (64,)})(one), "64-bit integers"),
        "of floats": (
            Tiff(16, tags={258: (32,), 339: (3,)})(one),
            "32-bit floating-point numbers, which have no defined white",
        ),
        "of float16": (Tiff(16, tags={339: (3,)})(one), "16-bit floating-point"),
        "of signed integers": (Tiff(16, tags={339: (2,)})(one), "16-bit signed integers"),
        "of complex numbers": (Tiff(16, tags={339: (6,)})(one), "complex"),
        "of several depths": (Tiff(8, RGB, tags={258: (5, 6, 5)})(rgb), "5, 6-bit"),
        "of five bands": (Tiff(8)(five), "5 bands"),
        "of CIELab": (Tiff(8, 8)(rgb), "CIELab.*save it as RGB"),
        "of other inks": (Tiff(8, CMYK, tags={332: (2,)})(chart(channels=4, most=255)), "other than cyan"),
        "of a mask": (Tiff(1, 4)(one), "transparency mask"),
        "of a camera's samples": (Tiff(16, 32803)(one), "raw samples"),
        "in LERC": (Tiff(8, tags={259: (34887,)})(one), "LERC"),
        "in WebP": (Tiff(8, RGB, tags={259: (50001,)})(rgb), "WebP, which is not decoded"),
        "in JPEG 2000": (Tiff(8, RGB, tags={259: (34712,)})(rgb), "JPEG 2000"),
        "in JPEG XL": (Tiff(8, RGB, tags={259: (50002,)})(rgb), "JPEG XL"),
        "in old-style JPEG": (Tiff(8, RGB, tags={259: (6,)})(rgb), "old-style JPEG"),
        "with an unknown compression": (Tiff(8, RGB, tags={259: (999,)})(rgb), "number 999"),
        "with the predictor of floats": (Tiff(8, compression=LZW, tags={317: (3,)})(one), "predictor 3"),
        "of a raw photo": (Tiff(8, RGB, tags={50706: (1, 4, 0, 0)})(rgb), "raw photo"),
        "of a raw photo's preview": (Tiff(8, RGB, tags={254: (1,), 330: (8,)})(rgb), "raw photo"),
        "truncated": (whole[: len(whole) // 2], "ends before"),
        "truncated in its header": (whole[:6], "ends before"),
        "without pixels": (_without(whole, 273), "no positions of its pixels"),
        "of zero width": (Tiff(8, RGB, tags={256: (0,)})(rgb), "0×37"),
        "of fewer strips": (Tiff(8, RGB, tags={257: (50,)})(rgb), "ends before"),
        "without a palette": (Tiff(8, PALETTE)(one), "palette"),
        "of too few samples": (Tiff(8, RGB)(one), "its colours need 3"),
        "with odd tiles": (Tiff(8, tile=(10, 10))(one), "multiples of 16"),
        "whose LZW is garbage": (Tiff(8, compression=NONE, tags={259: (5,)})(one), "damaged"),
    }
    for name, (data, refused) in cases.items():
        yield Kind(f"TIFF {name}", lambda data=data: data, refused=refused)  # type: ignore[misc]
