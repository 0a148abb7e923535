"""Files that would take seconds or minutes to decode are refused early or decoded cheaply.

The files are small versions of ones that took seconds within 16 MB and 50 megapixels. CPU time is measured where a
count cannot show the cost, with limits that hold on a busy machine.
"""

import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import NotAnImageError, TooManyPixelsError
from imaging.formats.signatures import read_picture
from tests.imaging.corpus.bmp import RLE4, RLE8, bmp
from tests.imaging.corpus.jpeg import segment
from tests.imaging.corpus.png import GREY, RGB, colours, png
from tests.imaging.corpus.tiff_file import written
from tests.service.pictures import encode, png_chunk, random_pixels, webp_claiming

LIMIT = 50_000_000
JPEG = encode(random_pixels(64, 64), "JPEG")
PNG = encode(random_pixels(64, 64))


def progressive(side: int, scans: int, marker: int = 0xC2) -> bytes:
    """Return a grey JPEG whose scans after the first consist of runs of empty blocks."""
    blocks = (-(-side // 8)) ** 2
    ends = "011111111111111" * -(-blocks // 32_767)
    ends += "1" * (-len(ends) % 8)
    empty = bytes(int(ends[at : at + 8], 2) for at in range(0, len(ends), 8)).replace(b"\xff", b"\xff\0")
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, b"\0" + b"\1" * 64),
            segment(marker, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0"),
            segment(0xC4, b"\0\1" + bytes(15) + b"\0"),
            segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0"),
            segment(0xDA, b"\1\1\0\0\0\0") + bytes((blocks + 7) // 8),
            (segment(0xDA, b"\1\1\0\1\x3f\0") + empty) * scans,
            b"\xff\xd9",
        ]
    )


def cost(data: bytes, refused: str | None = None) -> float:
    """Return the CPU seconds of decoding or refusing a file."""
    start = time.thread_time()
    with pillow_pixel_limit(LIMIT):
        if refused is None:
            decode(data, LIMIT)
        else:
            with pytest.raises(NotAnImageError, match=refused):
                decode(data, LIMIT)
    return time.thread_time() - start


@pytest.mark.parametrize(("side", "scans"), [(7000, 200), (3000, 400), (7000, 8000), (64, 501)])
def test_a_jpeg_with_too_many_scans_for_its_pixels_is_refused(side: int, scans: int) -> None:
    assert cost(progressive(side, scans), "scans or more") < 0.5


def test_a_small_jpeg_may_have_hundreds_of_scans() -> None:
    assert cost(progressive(64, 499)) < 0.5


def test_scans_of_arithmetic_codes_count_for_more() -> None:
    with pytest.raises(NotAnImageError, match="scans or more"):
        decode(progressive(4000, 20, marker=0xCA), LIMIT)
    assert cost(progressive(4000, 20)) < 2


def test_scans_after_the_end_and_in_comments_do_not_count() -> None:
    whole = progressive(64, 100)
    comment = segment(0xFE, b"\xff\xda\xff\xd9" * 1000)
    assert cost(whole[:-2] + comment + whole[-2:] + whole * 10) < 0.5
    hidden = whole[:-2] + comment + segment(0xDA, b"\1\1\0\1\x3f\0") * 500 + b"\xff\xd9"
    with pytest.raises(NotAnImageError, match="scans or more"):
        decode(hidden, LIMIT)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_scans_of_ordinary_progressive_jpegs_are_accepted_up_to_the_pixel_limit(subsampling: int) -> None:
    data = encode(random_pixels(64, 64), "JPEG", progressive=True, subsampling=subsampling)
    frame = data.index(b"\xff\xc2")
    claimed = data[: frame + 5] + struct.pack(">HH", 7071, 7071) + data[frame + 9 :]
    assert read_picture(claimed).width == 7071  # read_picture counts the scans, load decodes them


def test_the_jpegs_inside_a_tiff_share_one_limit() -> None:
    strip = progressive(2000, 60)
    assert cost(strip) < 2
    size = {
        256: (2000,),
        257: (20_000,),
        258: (8,),
        259: (7,),
        262: (1,),
        273: (0,),
        277: (1,),
        278: (2000,),
        279: (0,),
    }
    assert cost(written([strip] * 10, size), "scans or more") < 0.5


@pytest.mark.parametrize("metadata", [segment(0xE5, b""), segment(0xFE, b""), segment(0xE1, b"Exif\0\0")])
def test_a_jpeg_of_hundreds_of_thousands_of_segments_is_refused(metadata: bytes) -> None:
    assert cost(JPEG[:2] + metadata * 400_000 + JPEG[2:], "more than 10000 segments") < 0.5


def test_segments_of_a_jpeg_cost_no_more_than_their_bytes() -> None:
    assert cost(JPEG[:2] + segment(0xE1, b"Exif\0\0" + bytes(1600)) * 9000 + JPEG[2:]) < 0.5
    assert cost(JPEG[:2] + segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 200 + JPEG[2:]) < 0.5
    assert cost(JPEG[:-2] + segment(0xFE, b"") * 1_000_000 + JPEG[-2:]) < 0.5
    assert cost(JPEG[:2] + b"\xff" * 10_000_000 + JPEG[2:]) < 0.5


@pytest.mark.parametrize("name", [b"prVt", b"tEXt", b"IDAT"])
def test_a_png_of_hundreds_of_thousands_of_chunks_is_refused(name: bytes) -> None:
    assert cost(PNG[:33] + png_chunk(name, b"") * 200_000 + PNG[33:], "more than 100000 chunks") < 1


def test_text_of_a_png_is_not_decompressed() -> None:
    bomb = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000_000), 9))
    assert cost(PNG[:33] + bomb * 300 + PNG[33:]) < 0.5


def test_a_gif_of_many_comments_is_refused() -> None:
    start = b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0x70, 0, 0)
    assert cost(start + b"!\xfe" + b"\1x" * 400_000 + b"\0", "comments before its first frame") < 0.5
    assert cost(start + (b"!\xfe\1x\0") * 1_000_000, "comments before its first frame") < 0.5
    assert cost(start + bytes(4_000_000), "ends before") < 0.5


def test_a_webp_of_many_chunks_is_refused() -> None:
    whole = encode(random_pixels(), "WEBP")
    many = whole[12:] + b"note\0\0\0\0" * 20_000
    assert cost(b"RIFF" + struct.pack("<I", len(many) + 4) + b"WEBP" + many, "more than 10000 chunks") < 0.5


RUNS: dict[str, tuple[int, int, bytes]] = {
    "ends of lines": (RLE8, 8, b"\0\0" * 5000 + b"\0\1"),
    "long runs of 4 bits": (RLE4, 4, (b"\xff\x12" * 20 + b"\0\0") * 5000 + b"\0\1"),
    "jumps": (RLE8, 8, b"\0\2\0\1" * 4999 + b"\0\1"),
}


@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS)
def test_run_lengths_of_a_bmp_are_not_decoded_pixel_by_pixel(runs: tuple[int, int, bytes]) -> None:
    compression, depth, rows = runs
    assert cost(bmp(rows, (5000, 5000), depth, 40, compression, colours(depth))) < 1.5


def test_a_bmp_of_more_runs_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"\1\x12" * 20_000
    data = bmp(rows, (5000, 5000), 8, 40, RLE8, colours(8))
    assert cost(data, "ends before") < 0.5
    monkeypatch.setattr("imaging.formats.bmp._MAX_RUNS", 19_999)  # the limit of two million takes a second
    assert cost(data, "more than 19999 runs") < 0.5


def test_strips_of_one_row_cost_little_and_tiny_tiles_are_refused() -> None:
    row = zlib.compress(bytes(500))
    size = {256: (500,), 257: (20_000,), 258: (8,), 259: (8,), 262: (1,), 277: (1,)}
    assert cost(written([row] * 20_000, {**size, 273: (0,), 278: (1,), 279: (0,)})) < 2
    tile = zlib.compress(bytes(256))
    tiles = {322: (16,), 323: (16,), 324: (0,), 325: (0,)}
    assert cost(written([tile] * 40_000, {**size, 256: (3200,), 257: (3200,), **tiles}), "more than 20000 pieces") < 0.5


def test_a_tile_far_larger_than_its_image_is_refused() -> None:
    size = {256: (8,), 257: (8,), 258: (8,), 259: (8,), 262: (1,), 277: (1,)}
    tiles = {322: (65_520,), 323: (65_520,), 324: (0,), 325: (0,)}
    assert cost(written([zlib.compress(bytes(100))], {**size, **tiles}), "far larger than the image") < 0.1


def test_a_directory_that_claims_more_than_the_file_is_refused() -> None:
    size = {256: (8,), 257: (8,), 258: (8,), 259: (1,), 262: (1,), 273: (0,), 277: (1,), 278: (8,), 279: (0,)}
    whole = written([bytes(64)], size)
    (start,) = struct.unpack_from("<I", whole, 4)
    assert cost(whole[:start] + b"\xff\xff" + whole[start + 2 :], "ends before") < 0.1
    huge = written([bytes(64)], size, big=True)
    (start,) = struct.unpack_from("<Q", huge, 8)
    assert cost(huge[:start] + b"\xff" * 8 + huge[start + 8 :], "ends before") < 0.1


def claiming_png(width: int, height: int) -> bytes:
    row = b"\0" + bytes(-(-width // 8))
    header = struct.pack(">IIBBBBB", width, height, 1, GREY, 0, 0, 0)
    pixels = zlib.compress(row * height)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


WIDE: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: claiming_png(50_000_000, 1),
    "PNG, tall": lambda: claiming_png(1, 65_536),
    "BMP": lambda: bmp(b"\0\1", (50_000_000, 1), 8, 40, RLE8, colours(8)),
    "WebP": lambda: webp_claiming(70_000, 1),
    "TIFF": lambda: written([b"x"], {256: (70_000,), 257: (1,), 258: (8,), 259: (8,), 273: (0,), 277: (1,), 279: (0,)}),
}


@pytest.mark.parametrize("make", WIDE.values(), ids=WIDE)
def test_a_side_of_more_than_65535_pixels_is_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(TooManyPixelsError, match="a side may have 65535; crop the longer side"):
        decode(make(), LIMIT)


def test_a_side_of_65535_pixels_is_decoded() -> None:
    assert decode(claiming_png(65_535, 2), LIMIT).size == (65_535, 2)


def test_16_bit_pixels_of_a_png_are_decoded_quickly() -> None:
    values = np.zeros((10, 10, 3), np.uint16)
    row = b"\0" + bytes(3000 * 6)
    header = struct.pack(">IIBBBBB", 3000, 3000, 16, RGB, 0, 0, 0)
    small = png(values, RGB, 16)
    data = small[:8] + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(row * 3000, 1)) + small[-12:]
    assert cost(data) < 2
