"""Digits data: the split, the colours, and augmentation."""

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from examples.digits.augment import augment
from examples.digits.data import TEST_COUNT, as_paper, load_split
from tests.conftest import DIGITS


def test_the_test_split_is_the_last_360_images() -> None:
    labels = load_digits().target
    train, test = load_split()
    assert len(test.labels) == TEST_COUNT == 360
    assert np.array_equal(np.concatenate([train.labels, test.labels]), labels)
    assert train.images.shape == (1437, 32, 32, 3)
    assert test.images.dtype == np.uint8


def test_digits_are_dark_on_white() -> None:
    assert as_paper(np.array([[0.0, 8.0, 16.0]])).tolist() == [[255, 128, 0]]


def test_the_samples_are_the_first_test_image_of_each_digit() -> None:
    _, test = load_split()
    for digit in range(10):
        with Image.open(DIGITS / "samples" / f"{digit}.png") as sample:
            pixels = np.asarray(sample)
        assert np.array_equal(pixels, test.images[list(test.labels).index(digit)])


def test_augmentation_differs_for_each_image_and_is_reproducible() -> None:
    train, _ = load_split()
    image = torch.from_numpy(train.images[:1]).permute(0, 3, 1, 2) / 255
    images = image.repeat(4, 1, 1, 1)
    first, again = (augment(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], image[0])
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert abs(float(first.mean() - image.mean())) < 0.1
