"""Resizing and cropping in one step, compared with Pillow's two steps."""

import itertools

import numpy as np
import pytest
from PIL import Image

from imaging.pillow_resizing import resize_and_crop
from tests.service.pictures import random_pixels

FILTERS = [
    *(Image.Resampling.NEAREST, Image.Resampling.BILINEAR),
    *(Image.Resampling.BICUBIC, Image.Resampling.LANCZOS),
]
SIZES = [
    (500, 375),
    (375, 500),
    (640, 480),
    (333, 500),
    (224, 224),
    (97, 89),
    (31, 17),
    (17, 31),
    (30, 1000),
    (117, 235),
]


def step_by_step(
    image: Image.Image, size: tuple[int, int], crop: tuple[int, int], resampling: Image.Resampling
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    left, top = (round((whole - part) / 2.0) for whole, part in zip(size, crop, strict=True))
    return np.asarray(image.resize(size, resampling).crop((left, top, left + crop[0], top + crop[1])))


@pytest.mark.slow
@pytest.mark.parametrize("resampling", FILTERS, ids=lambda resampling: resampling.name)
def test_pixels_equal_those_of_the_two_steps(resampling: Image.Resampling) -> None:
    for (width, height), short in itertools.product(SIZES, (64, 100, 248)):
        image = Image.fromarray(random_pixels(height, width))
        scale = short / min(width, height)
        size = (int(width * scale), int(height * scale))
        for crop in ((64, 64), (33, 50), (min(size), min(size))):
            found = resize_and_crop(image, size, crop, resampling)
            np.testing.assert_array_equal(found, step_by_step(image, size, crop, resampling))


def test_a_resize_with_an_arbitrary_box_gives_other_pixels() -> None:
    """The first pass needs its own start, and the comparison above is able to fail."""
    image = Image.fromarray(random_pixels(375, 500))
    left, scale = 53, 500 / 330
    box = (left * scale, 0, (left + 224) * scale, 375)
    short_cut = np.asarray(image.resize((224, 248), Image.Resampling.BICUBIC, box))[12:236]
    assert (short_cut != step_by_step(image, (330, 248), (224, 224), Image.Resampling.BICUBIC)).any()
