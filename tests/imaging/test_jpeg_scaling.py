"""Scaling of JPEGs by libjpeg while decoding: as Pillow's draft, never below the required size."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from artifact import Preprocess
from imaging.decode import decode
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Reading
from tests.imaging.corpus.jpeg import lossless
from tests.imaging.corpus.webp_avif import oriented
from tests.service.pictures import encode, random_pixels

LIMIT = 10**6
PHOTO = Image.fromarray(random_pixels(6, 8)).resize((128, 96), Image.Resampling.BICUBIC)


def steps(resize: int | tuple[int, int], crop: tuple[int, int] = (1, 1)) -> Preprocess:
    return Preprocess(resize=resize, crop=crop, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))


def drafted(data: bytes, scale: int) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    image.draft(image.mode, (image.width // scale, image.height // scale))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {}), ("RGB", {"subsampling": 0}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {})],
)
def test_scaled_pixels_are_those_of_pillows_draft(mode: str, options: dict[str, Any], scale: int) -> None:
    data = encode(PHOTO.convert(mode), "JPEG", **options)
    found = decode(data, LIMIT, enough=lambda width, height: (width // scale, height // scale))
    assert found.size == (128 // scale, 96 // scale)
    np.testing.assert_array_equal(found, drafted(data, scale))


def test_the_required_size_is_that_of_the_upright_image() -> None:
    requested = []

    def enough(*size: int) -> tuple[int, int]:
        requested.append(size)
        return 24, 64  # of 96×128; in the stored orientation, half the height would be too small

    data = encode(PHOTO, "JPEG", exif=oriented(6))
    found = decode(data, LIMIT, enough=enough)
    assert requested == [(96, 128)]
    np.testing.assert_array_equal(found, np.rot90(drafted(data, 2), -1))


@pytest.mark.parametrize(
    ("size", "ways", "expected"),
    [
        ((128, 96), [steps(12)], (32, 24)),  # resized to 16×12
        ((128, 96), [steps(13)], (64, 48)),
        ((128, 96), [steps(6)], (16, 12)),
        ((128, 96), [steps(1)], (16, 12)),  # one eighth is the smallest scale
        ((128, 96), [steps(25)], (128, 96)),
        ((128, 96), [steps((12, 33))], (128, 96)),  # (height, width)
        ((128, 96), [steps(6), steps(24)], (64, 48)),
        ((128, 96), [steps(12, (6, 6))], (32, 24)),
        ((132, 96), [steps(6)], (33, 24)),  # 132 / 8 has a remainder
        ((127, 96), [steps(6)], (127, 96)),
    ],
)
def test_scaled_sides_are_at_least_twice_the_resized_ones(
    size: tuple[int, int], ways: list[Preprocess], expected: tuple[int, int]
) -> None:
    data = encode(PHOTO.resize(size), "JPEG")
    assert Reading(LIMIT, resize_and_crop, jpeg_scaling=True).decode(data, ways).size == expected
    assert Reading(LIMIT, resize_and_crop).decode(data, ways).size == size


@pytest.mark.parametrize("data", [encode(PHOTO), lossless(np.asarray(PHOTO.convert("L")))], ids=["PNG", "lossless"])
def test_files_that_libjpeg_cannot_scale_are_decoded_in_full_size(data: bytes) -> None:
    found = decode(data, LIMIT, enough=lambda *_: (1, 1))
    np.testing.assert_array_equal(found, decode(data, LIMIT))
    assert found.size == PHOTO.size


def test_scaling_changes_the_inputs_of_a_network_only_slightly() -> None:
    data, way = encode(PHOTO.resize((1024, 768)), "JPEG", quality=95), steps(64, (48, 48))
    exact, scaled = (
        reading.pixels(reading.decode(data, [way]), way).astype(int)
        for reading in (Reading(LIMIT, resize_and_crop), Reading(LIMIT, resize_and_crop, jpeg_scaling=True))
    )
    assert 0 < np.abs(exact - scaled).max() <= 4
    assert np.abs(exact - np.roll(exact, 1, axis=1)).max() > 8  # the comparison is able to fail
