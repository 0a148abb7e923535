"""A picture of too many pixels is refused from its header, before it costs memory."""

import subprocess
import sys

import pytest
from PIL import Image

from imaging.decode import decode, pillow_pixel_limit
from imaging.errors import NotAnImageError, TooManyPixelsError
from tests.service.pictures import encode, png_claiming

MEGAPIXELS_100 = (10_000, 10_000)


def test_a_header_of_100_megapixels_is_refused_without_decoding() -> None:
    bomb = png_claiming(*MEGAPIXELS_100)
    with pillow_pixel_limit(50_000_000), pytest.raises(TooManyPixelsError):
        decode(bomb, 50_000_000)
    with pillow_pixel_limit(100_000_000), pytest.raises(NotAnImageError):
        decode(bomb, 100_000_000)  # its pixels are damaged, which only a decoder can know


GROWTH = """
import pathlib, re, sys
from PIL import Image
from imaging.errors import TooManyPixelsError
from imaging.decode import decode, pillow_pixel_limit

def largest():  # ru_maxrss would begin with the parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

Image.init()
data, limit = sys.stdin.buffer.read(), int(sys.argv[1])
before = largest()
try:
    with pillow_pixel_limit(limit):
        decode(data, limit)
except TooManyPixelsError:
    sys.stdout.write("refused ")
print(largest() - before)
"""
"""Decodes what comes, and prints by how many KiB its process has grown at most."""


def test_a_real_picture_of_100_megapixels_costs_no_memory() -> None:
    bomb = encode(Image.new("1", MEGAPIXELS_100))
    assert len(bomb) < 100_000
    refused, decoded = (
        subprocess.run([sys.executable, "-c", GROWTH, limit], input=bomb, capture_output=True, check=True).stdout
        for limit in ("50000000", "100000000")
    )
    assert refused.startswith(b"refused ")
    assert int(refused.split()[1]) < 10_000
    assert int(decoded) > 90_000  # a byte a pixel at least: the growth is seen where there is one
