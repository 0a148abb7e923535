"""Memory of decoding: at most 8 bytes per pixel beside the file, 12 for 16-bit images, reserved in advance."""

import itertools
import pathlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image, _imaging

from imaging.decode import KEPT_BLOCKS, decode, pillow_pixel_limit
from imaging.errors import NotAnImageError, TooManyPixelsError
from tests.imaging.corpus.png import GREY, GREY_ALPHA, RGB, RGB_ALPHA
from tests.imaging.corpus.tiff_file import written
from tests.imaging.corpus.webp_avif import oriented
from tests.service.pictures import encode, png_chunk, png_claiming, random_pixels

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 2400, 1600
"""Size of the images, in pixels; large enough that the rest of the process is negligible."""

GROWTH = """
import ctypes, os, pathlib, re, sys
from PIL import Image, _imaging
from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import TooManyPixelsError

def largest():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

reserved, trim = [], ctypes.CDLL(None).malloc_trim
def reserve(size, own):
    reserved.append(size)
    return open(os.devnull)

small, *files = (pathlib.Path(path).read_bytes() for path in sys.argv[1:])
with pillow_pixel_limit(50_000_000):
    Image.core.set_blocks_max(0)  # otherwise a decode would reuse memory of the previous one
    decode(small, 50_000_000)
    for data in files:
        if not os.fork():  # each file has its own process and peak
            for _ in range(2):  # the first run also counts pages of libraries, which a fork does not inherit
                trim(0)
                pathlib.Path("/proc/self/clear_refs").write_text("5")
                before = largest()
                try:
                    decode(data, 50_000_000, reserve=reserve)
                except TooManyPixelsError:
                    reserved.append(0)
            os.write(1, f"{1024 * (largest() - before)} {reserved[-1]}\\n".encode())
            os._exit(0)
        os.wait()
"""
"""Script that decodes files and prints for each the growth of the process and the reserved memory, in bytes."""


def deep_png(kind: int, channels: int) -> bytes:
    row = b"\0" + np.linspace(0, 65_535, WIDTH * channels).astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * HEIGHT, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, chunks))


def tiff(bits: int, photometric: int, channels: int, rows: int) -> bytes:
    row = np.linspace(0, 255, WIDTH * channels * bits // 8).astype(np.uint8).tobytes()
    strips = [zlib.compress(row * rows, 1)] * (HEIGHT // rows)
    size = {256: (WIDTH,), 257: (HEIGHT,), 258: (bits,) * channels, 277: (channels,), 278: (rows,)}
    alpha = {338: (2,)} if channels == 4 and photometric == 2 else {}
    return written(strips, {**size, **alpha, 259: (8,), 262: (photometric,), 273: (0,), 279: (0,)})


def large_pictures() -> dict[str, tuple[bytes, int]]:
    """Return files with the bytes per pixel that decoding each may use."""
    rgb = Image.linear_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB")
    rgba, cmyk = rgb.copy(), Image.merge("CMYK", [*rgb.split(), rgb.getchannel(0)])
    rgba.putalpha(rgb.getchannel(0))
    fast: dict[str, Any] = {"compress_level": 1}
    palette = rgb.quantize(8)
    return {
        "PNG RGB": (encode(rgb, **fast), 8),
        "PNG RGBA": (encode(rgba, **fast), 8),
        "PNG LA": (encode(rgba.convert("LA"), **fast), 8),
        "PNG palette with alpha": (encode(palette, transparency=bytes(range(8)), **fast), 8),
        "PNG RGB with a transparent colour": (encode(rgb, transparency=(9, 9, 9), **fast), 8),
        "PNG grey 16 bit": (deep_png(GREY, 1), 8),
        "PNG RGB 16 bit": (deep_png(RGB, 3), 12),
        "PNG RGBA 16 bit": (deep_png(RGB_ALPHA, 4), 12),
        "PNG grey and alpha 16 bit": (deep_png(GREY_ALPHA, 2), 8),
        "JPEG": (encode(rgb, "JPEG"), 8),
        "JPEG rotated": (encode(rgb, "JPEG", exif=oriented(6)), 8),
        "JPEG progressive": (encode(rgb, "JPEG", progressive=True), 8),
        "JPEG CMYK": (encode(cmyk, "JPEG"), 8),
        "WebP": (encode(rgb, "WEBP", method=0), 8),
        "WebP lossless": (encode(rgb, "WEBP", method=0, lossless=True), 8),
        "WebP with alpha": (encode(rgba, "WEBP", method=0), 8),
        "GIF": (encode(palette, "GIF"), 8),
        "BMP": (encode(rgba, "BMP"), 8),
        "TIFF RGB in one strip": (tiff(8, 2, 3, HEIGHT), 8),
        "TIFF RGBA 16 bit in one strip": (tiff(16, 2, 4, HEIGHT), 12),
        "TIFF CMYK in strips": (tiff(8, 5, 4, 10), 8),
        "TIFF grey 12 bit in one strip": (tiff(12, 0, 1, HEIGHT), 8),
    }


def measured(folder: pathlib.Path, pictures: Iterable[bytes]) -> list[list[int]]:
    """Return for each file the growth of the process and the reserved memory in bytes, 0 if the file is refused."""
    paths = []
    for number, data in enumerate([encode(random_pixels()), *pictures]):
        paths.append(folder / str(number))
        paths[-1].write_bytes(data)
    ended = subprocess.run([sys.executable, "-c", GROWTH, *paths], capture_output=True, text=True, check=True)
    return [[int(number) for number in line.split()] for line in ended.stdout.splitlines()]


def test_an_image_of_100_megapixels_is_refused_before_it_costs_memory(tmp_path: pathlib.Path) -> None:
    bomb = encode(Image.new("1", (10_000, 10_000)))
    assert len(bomb) < 100_000
    ((grown, reserved),) = measured(tmp_path, [bomb])
    assert reserved == 0
    assert grown < 10_000_000  # the test below shows that growth is measured


def test_decoding_uses_at_most_8_bytes_per_pixel_and_12_for_16_bits(tmp_path: pathlib.Path) -> None:
    pictures = large_pictures()
    found = measured(tmp_path, (data for data, _ in pictures.values()))
    for (name, (data, most)), (grown, reserved) in zip(pictures.items(), found, strict=True):
        pixels = WIDTH * HEIGHT
        assert reserved == most * pixels, name
        assert grown <= most * pixels + len(data) + 2_000_000, f"{name}: {grown / pixels:.1f} bytes per pixel"
        assert grown >= 4 * pixels, name  # the growth is measured


class Held:
    """A recorder of requested and currently reserved memory."""

    def __init__(self) -> None:
        self.requested: list[int] = []
        self.files: list[int] = []
        self.now = 0

    @contextmanager
    def __call__(self, size: int, own: int) -> Iterator[None]:
        self.requested.append(size)
        self.files.append(own)
        self.now += size
        try:
            yield
        finally:
            self.now -= size


def test_memory_is_reserved_until_the_pixels_are_freed() -> None:
    held, data = Held(), encode(random_pixels(5, 7))
    image = decode(data, 1000, reserve=held)
    assert (held.requested, held.files) == ([8 * 35], [len(data)])
    assert held.now == 8 * 35
    copy = image.copy()
    del image
    assert held.now == 0
    assert copy.size == (7, 5)


@pytest.mark.parametrize("data", [png_claiming(5, 7), encode(random_pixels(5, 7))[:-20]], ids=["pixels", "header"])
def test_memory_of_a_damaged_picture_is_freed_at_once(data: bytes) -> None:
    held = Held()
    with pytest.raises(NotAnImageError):
        decode(data, 1000, reserve=held)
    assert held.now == 0


def test_nothing_is_reserved_for_a_picture_over_the_limit() -> None:
    held = Held()
    with pytest.raises(TooManyPixelsError):
        decode(png_claiming(50, 50), 1000, reserve=held)
    assert held.requested == []


def test_an_error_of_the_reservation_is_raised_before_any_pixel_is_decoded() -> None:
    class FullError(Exception):
        """A budget is exhausted."""

    @contextmanager
    def full(size: int, _own: int) -> Iterator[None]:
        raise FullError(size)
        yield

    with pytest.raises(FullError, match="280"):
        decode(png_claiming(5, 7), 1000, reserve=full)


def test_too_little_memory_is_not_reported_as_a_damaged_image() -> None:
    """A later attempt may succeed, unlike for a damaged image."""
    script = (
        "import resource, sys\n"
        "from imaging.errors import DecodeMemoryError\n"
        "from imaging.decode import decode\n"
        "data = sys.stdin.buffer.read()\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (300_000_000, 300_000_000))\n"
        "try:\n"
        "    decode(data, 10**9)\n"
        "except DecodeMemoryError as error:\n"
        "    print(error)\n"
    )
    data = png_claiming(20_000, 20_000)
    ended = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True)
    assert b"there is not enough memory to decode the image" in ended.stdout


def test_memory_of_pixels_is_kept_for_the_next_image() -> None:
    before = _imaging.get_blocks_max()
    data = encode(random_pixels(5, 7))

    def reused() -> int:
        _imaging.reset_stats()
        for _ in range(2):
            decode(data, 35)
        return int(_imaging.get_stats()["reused_blocks"])

    _imaging.clear_cache()
    assert reused() == 0
    with pillow_pixel_limit(1000):
        assert _imaging.get_blocks_max() == KEPT_BLOCKS
        assert reused() > 0
    assert _imaging.get_blocks_max() == before
    assert _imaging.get_stats()["blocks_cached"] == before == 0
