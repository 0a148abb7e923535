"""JPEG files by Pillow's encoder, some with modified markers."""

import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from tests.imaging.corpus.kinds import Kind, Pixels, chart, eight, grey
from tests.imaging.corpus.webp_avif import oriented, upright
from tests.service.pictures import encode

ON_AVERAGE = 1.5
AT_MOST = 16


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def lossless(values: Pixels) -> bytes:
    """Return a lossless grey JPEG (SOF3): differences from the left neighbour, or the upper one in the first column."""
    before = np.roll(values, 1, axis=1).astype(int)
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 128
    bits = ""
    for difference in (values - before).ravel().tolist():
        size = abs(difference).bit_length()
        extra = difference if difference > 0 else difference + 2**size - 1
        bits += f"{size:04b}" + (f"{extra:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    height, width = values.shape
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"),
            segment(0xC4, b"\0" + bytes([0, 0, 0, 10]) + bytes(12) + bytes(range(10))),  # codes of 4 bits
            segment(0xDA, b"\1\1\0\1\0\0") + coded,
            b"\xff\xd9",
        ]
    )


def jpeg_kinds() -> Iterator[Kind]:
    rgb = eight(chart(40, 56, most=255), 8)
    near: dict[str, Any] = {"at_most": AT_MOST, "on_average": ON_AVERAGE}
    plain = encode(rgb, "JPEG", quality=95, subsampling=0)
    for name in ("4:4:4", "4:2:2", "4:2:0", "4:1:1"):
        for progressive in (False, True):
            make = partial(encode, rgb, "JPEG", quality=95, subsampling=name, progressive=progressive)
            yield Kind(f"JPEG {name}{' progressive' * progressive}", make, rgb, at_most=60, on_average=ON_AVERAGE)
    yield Kind("JPEG grey", partial(encode, rgb[..., 0], "JPEG", quality=95), grey(rgb[..., 0]), **near)
    make = partial(encode, rgb[..., 0], "JPEG", quality=95, progressive=True)
    yield Kind("JPEG grey progressive", make, grey(rgb[..., 0]), **near)
    yield Kind("JPEG RGB", partial(encode, rgb, "JPEG", quality=95, keep_rgb=True), rgb, **near)
    make = partial(encode, rgb, "JPEG", quality=95, subsampling=0, restart_marker_rows=1)
    yield Kind("JPEG with restart markers", make, rgb, **near)
    yield Kind(
        "JPEG with optimised tables",
        partial(encode, rgb, "JPEG", quality=95, optimize=True, subsampling=0),
        rgb,
        **near,
    )
    yield Kind("JPEG lossless", partial(lossless, rgb[..., 0]), grey(rgb[..., 0]))
    yield from _orientations(rgb, plain, near)
    yield from _four_channels(near)
    yield from _metadata(rgb, plain, near)
    yield from _refused(plain)


def _orientations(rgb: Pixels, plain: bytes, near: dict[str, Any]) -> Iterator[Kind]:
    for orientation in range(1, 9):
        make = partial(encode, rgb, "JPEG", quality=95, subsampling=0, exif=oriented(orientation))
        yield Kind(f"JPEG of orientation {orientation}", make, upright(rgb, orientation), **near)
    entry = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    big = b"MM\0*\0\0\0\x08\0\1" + entry + bytes(4)
    long = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x112, 4, 1, 6) + bytes(4)
    for name, exif, turn in (
        ("big-endian", big, 6),
        ("of a LONG", long, 6),
        ("after a doubled header", b"Exif\0\0" + big, 6),
        ("whose next directory is truncated", big[:-4], 6),
        ("that is truncated", big[:12], 1),
        ("that is garbage", b"garbage", 1),
        ("that is empty", b"", 1),
        ("of orientation 9", big.replace(entry, struct.pack(">HHIHH", 0x112, 3, 1, 9, 0)), 1),
        ("of orientation 0", big.replace(entry, struct.pack(">HHIHH", 0x112, 3, 1, 0, 0)), 1),
    ):
        data = plain[:2] + segment(0xE1, b"Exif\0\0" + exif) + plain[2:]
        yield Kind(f"JPEG with EXIF {name}", lambda data=data: data, upright(rgb, turn), **near)  # type: ignore[misc]
    xmp = plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='6'/>") + plain[2:]
    yield Kind("JPEG with an orientation in XMP", lambda: xmp, rgb, **near)


def _four_channels(near: dict[str, Any]) -> Iterator[Kind]:
    cmyk = eight(chart(40, 56, 4, most=255), 8)
    ink = 255 - cmyk.astype(int)
    pixels = np.rint(ink[..., :3] * ink[..., 3:] / 255).astype(np.uint8)
    made = encode(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=95, subsampling=0)
    yield Kind("JPEG CMYK", lambda: made, pixels, **near)
    adobe = made.index(b"\xff\xee")
    bare = made[:adobe] + made[adobe + 2 + 14 :]
    yield Kind("JPEG CMYK without Adobe's marker", lambda: bare, pixels, **near)
    ycc = Image.fromarray(cmyk[..., :3].copy()).convert("YCbCr")
    ycck = np.dstack([255 - np.asarray(ycc), cmyk[..., 3]])  # Pillow inverts CMYK when it writes
    stored = encode(Image.fromarray(ycck, "CMYK"), "JPEG", quality=95, subsampling=0)
    at = stored.index(b"Adobe") + 11
    yield Kind("JPEG YCCK", lambda: stored[:at] + b"\2" + stored[at + 1 :], pixels, **near)


def _metadata(rgb: Pixels, plain: bytes, near: dict[str, Any]) -> Iterator[Kind]:
    second = encode(255 - rgb, "JPEG", progressive=True)
    for name, data in {
        "with 2 MB of comments": plain[:2] + segment(0xFE, b"x" * 65_000) * 32 + plain[2:],
        "with 2,000 empty segments": plain[:2] + segment(0xE5, b"") * 2000 + plain[2:],
        "with Photoshop's resources": plain[:2]
        + segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0")
        + plain[2:],
        "with a preview in EXIF": plain[:2] + segment(0xE1, b"Exif\0\0" + second) + plain[2:],
        "with a profile in two parts": _with_profile(plain),
        "with an invalid profile": plain[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1garbage") + plain[2:],
        "with fill bytes": plain[:2] + b"\xff\xff\xff" + plain[2:],
        "with garbage between segments": plain[:20] + b"garbage" + plain[20:],
        "followed by a second image": plain + second * 40,
        "followed by a video": plain + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 500,
        "followed by 0xFF bytes": plain + b"\xff" * 1000,
    }.items():
        yield Kind(f"JPEG {name}", lambda data=data: data, rgb, **near)  # type: ignore[misc]


def _with_profile(plain: bytes) -> bytes:
    halves = segment(0xE2, b"ICC_PROFILE\0\2\2" + b"b" * 60_000) + segment(0xE2, b"ICC_PROFILE\0\1\2" + b"a" * 60_000)
    return plain[:2] + halves + plain[2:]


def _refused(plain: bytes) -> Iterator[Kind]:
    frame = plain.index(b"\xff\xc0")
    changed = {
        "of 12 bits": (plain[: frame + 4] + b"\x0c" + plain[frame + 5 :], "12 bits"),
        "hierarchical": (plain[: frame + 1] + b"\xc5" + plain[frame + 2 :], "hierarchical"),
        "of 0×0": (plain[: frame + 5] + bytes(4) + plain[frame + 9 :], "0×0"),
        "truncated at half": (plain[: len(plain) // 2], "ends before"),
        "truncated by a byte": (plain[:-1], "ends before"),
        "without EOI": (plain[:-2], "ends before"),
        "truncated in its header": (plain[: frame + 4], "ends before"),
        "of its first and last marker alone": (b"\xff\xd8\xff\xd9", "ends"),
        "without a frame": (plain[:2] + plain[plain.index(b"\xff\xda") :], "no header"),
        "of two frames": (plain[:frame] + plain[frame : frame + 19] + plain[frame:], "not valid"),
        "with bytes before it": (b"\n" + plain, "body is not an image"),
    }
    for name, (data, refused) in changed.items():
        yield Kind(f"JPEG {name}", lambda data=data: data, refused=refused)  # type: ignore[misc]
