"""Resizing with SIMD instructions: Pillow's pixels, except for a few small differences."""

import itertools
import sys

import numpy as np
import pytest
from PIL import Image

from imaging.errors import ResizerError
from imaging.pillow_resizing import resize_and_crop
from imaging.resizers import RESIZERS, find_resizer
from tests.service.pictures import random_pixels

pytest.importorskip("cykooz_resizer", reason="there is no wheel of cykooz-resizer for this machine")

FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
SIZES = [(500, 375), (375, 500), (640, 480), (333, 500), (97, 89), (31, 17), (17, 31), (2000, 1500)]


@pytest.mark.parametrize("resampling", FILTERS, ids=lambda resampling: resampling.name)
def test_few_values_differ_from_pillows_and_by_at_most_two(resampling: Image.Resampling) -> None:
    fast = find_resizer("simd")
    for (width, height), short in itertools.product(SIZES, (64, 248)):
        image = Image.fromarray(random_pixels(height, width))  # noise, the worst case
        scale = short / min(width, height)
        size = (int(width * scale), int(height * scale))
        for crop in ((64, 64), (33, 50), None):
            found, expected = (way(image, size, crop, resampling) for way in (fast, resize_and_crop))
            difference = np.abs(found.astype(int) - expected)
            assert found.dtype == np.uint8
            assert difference.max() <= 2
            assert (difference > 0).mean() < 0.02


def test_rows_first_would_not_pass_that_comparison() -> None:
    image = Image.fromarray(random_pixels(375, 500))
    rows_first = image.resize((500, 248), Image.Resampling.BICUBIC).resize((330, 248), Image.Resampling.BICUBIC)
    expected = resize_and_crop(image, (330, 248), None, Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(rows_first).astype(int) - expected)
    assert difference.max() > 2
    assert (difference > 0).mean() > 0.02


@pytest.mark.parametrize("resampling", [*FILTERS, Image.Resampling.NEAREST], ids=lambda resampling: resampling.name)
def test_images_that_need_no_interpolation_are_identical_to_pillows(resampling: Image.Resampling) -> None:
    image = Image.fromarray(random_pixels(40, 50))
    sizes = [(50, 40), (20, 16)] if resampling is Image.Resampling.NEAREST else [(50, 40)]
    for size, crop in itertools.product(sizes, (None, (13, 9))):
        found = find_resizer("simd")(image, size, crop, resampling)
        np.testing.assert_array_equal(found, resize_and_crop(image, size, crop, resampling))


def test_a_tall_thin_image_is_not_widened_before_it_is_reduced() -> None:
    made: list[tuple[int, int]] = []
    new = Image.new

    def recording(mode: str, size: tuple[int, int], color: object = 0) -> Image.Image:
        made.append(size)
        return new(mode, size, color)  # type: ignore[arg-type]

    image = Image.fromarray(random_pixels(20_000, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "new", recording)
        found = find_resizer("simd")(image, (224, 224), None, Image.Resampling.BICUBIC)
    assert found.shape == (224, 224, 3)
    assert made == [(2, 224), (224, 224)]


def test_auto_selects_and_logs_the_first_installed_resizer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert list(RESIZERS) == ["simd", "pillow"]
    assert find_resizer("auto") is find_resizer("simd")
    assert "images are resized by simd" in caplog.text
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    monkeypatch.delitem(sys.modules, "imaging.simd_resizing")
    caplog.clear()
    assert find_resizer("auto") is resize_and_crop
    assert "resizer simd is not available" in caplog.text
    assert "images are resized by pillow" in caplog.text
    with pytest.raises(ResizerError, match="pip install cykooz-resizer, or choose pillow"):
        find_resizer("simd")
    with pytest.raises(ResizerError, match="resizer 'gpu' is unknown; known: auto, simd, pillow"):
        find_resizer("gpu")
