"""Preprocessing, compared with torchvision's."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from artifact import Manifest
from imaging.errors import TooManyPixelsError
from imaging.pillow_resizing import resize_and_crop
from imaging.preprocess import Reading, preprocess, preprocessing_of
from imaging.resizers import find_resizer
from tests.service.artifacts import MEAN, STD, add_artifact
from tests.service.pictures import random_pixels

READING = Reading(50_000_000, resize_and_crop)
SIZES = [(8, 6), (6, 8), (31, 17), (100, 33), (33, 100), (7, 500), (1, 3)]
MODES = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
}


def manifest(path: Path, dtype: Literal["uint8", "float32"], **steps: object) -> Manifest:
    made = add_artifact(path, dtype=dtype)
    return made.model_copy(update={"preprocess": made.preprocess.model_copy(update=steps)})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", MODES)
@pytest.mark.parametrize(("resize", "crop"), [((8, 6), None), (9, (8, 6)), ((11, 9), (8, 6)), ((8, 7), (8, 6))])
def test_pixels_equal_those_of_torchvision(
    tmp_path: Path,
    size: tuple[int, int],
    interpolation: str,
    resize: int | tuple[int, int],
    crop: tuple[int, int] | None,
) -> None:
    image = Image.fromarray(random_pixels(*size))
    steps: list[Any] = [transforms.Resize(resize, MODES[interpolation], antialias=True)]
    if crop is not None:
        steps.append(transforms.CenterCrop(crop))
    expected = np.asarray(transforms.Compose(steps)(image))
    found = preprocess(
        image, manifest(tmp_path, "uint8", resize=resize, crop=crop, interpolation=interpolation), READING
    )
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected[np.newaxis])


def test_normalised_pixels_equal_those_of_torchvision(tmp_path: Path) -> None:
    image = Image.fromarray(random_pixels(31, 17))
    network = transforms.Compose(
        [
            transforms.Resize((8, 6), InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    expected: torch.Tensor = network(image)
    found = preprocess(image, manifest(tmp_path, "float32"), READING)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected.numpy()[np.newaxis])


def test_an_image_of_the_right_size_is_not_changed(tmp_path: Path) -> None:
    pixels = random_pixels(8, 6)
    np.testing.assert_array_equal(preprocess(Image.fromarray(pixels), manifest(tmp_path, "uint8"), READING)[0], pixels)


@pytest.mark.slow
def test_digests_of_different_preprocessing_differ(tmp_path: Path) -> None:
    base = manifest(tmp_path / "a", "uint8")
    assert preprocessing_of(base) == preprocessing_of(manifest(tmp_path / "b", "uint8", mean=(0.1, 0.2, 0.3)))
    floats = [manifest(tmp_path / name, "float32", mean=(mean,) * 3) for name, mean in (("c", 0.1), ("d", 0.2))]
    others = [manifest(tmp_path / "e", "uint8", interpolation="bilinear"), *floats]
    assert len({preprocessing_of(each) for each in (base, *others)}) == 4


def test_an_image_too_thin_to_resize_within_the_limit_is_refused(tmp_path: Path) -> None:
    thin = manifest(tmp_path, "uint8", resize=224, crop=(224, 224))
    with pytest.raises(TooManyPixelsError, match="1×40000 pixels become 224×8960000"):
        preprocess(Image.new("RGB", (1, 40_000)), thin, READING)
    with pytest.raises(TooManyPixelsError, match="40000×1 pixels become 224×8960000"):
        preprocess(Image.new("RGB", (40_000, 1)), thin, READING)


@pytest.mark.parametrize("resizer", ["pillow", "simd"])
@pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535), (65_535, 20)])
def test_the_longest_side_is_resized(tmp_path: Path, resizer: str, size: tuple[int, int]) -> None:
    pair = manifest(tmp_path, "uint8", resize=(8, 6), crop=None)
    image = Image.new("RGB", size, (1, 2, 3))
    found = preprocess(image, pair, Reading(50_000_000, find_resizer(resizer)))
    np.testing.assert_array_equal(found, np.broadcast_to([1, 2, 3], (1, 8, 6, 3)))


def test_pixels_between_the_passes_of_resizing_are_limited(tmp_path: Path) -> None:
    pair = manifest(tmp_path, "uint8", resize=(8, 600), crop=(8, 6))
    with pytest.raises(TooManyPixelsError, match="via 600×3000, at most 1000000 pixels are allowed"):
        preprocess(Image.new("RGB", (4, 3000)), pair, Reading(1_000_000, resize_and_crop))
