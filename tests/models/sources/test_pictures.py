"""Synthetic images: shapes of every size, determined by the seed alone."""

import pytest
import torch
from torch import Tensor

from models.sources.pictures import noise, photographs


def correlation(pictures: Tensor, distance: int) -> float:
    """Return the correlation of pixels at a distance within their row."""
    levels = pictures.double() - pictures.double().mean((1, 2), keepdim=True)
    beside = (levels[:, :, distance:] * levels[:, :, :-distance]).mean()
    return float(beside / (levels**2).mean())


def test_images_have_shapes_of_every_size_and_noise_has_none() -> None:
    pictures, grains = photographs(8, (96, 128), 0), noise(8, (96, 128), 0)
    assert pictures.shape == grains.shape == (8, 96, 128, 3)
    assert pictures.dtype == grains.dtype == torch.uint8
    near, far = (correlation(pictures, distance) for distance in (1, 32))
    assert near > 0.85
    assert 0.1 < far < near - 0.2
    assert abs(correlation(grains, 1)) < 0.02
    assert pictures.min() < 20
    assert pictures.max() > 235


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (300, 200)])
@pytest.mark.parametrize("make", [photographs, noise])
def test_the_seed_determines_images_of_any_size(make: type, size: tuple[int, int]) -> None:
    first = make(2, size, 3)
    assert first.shape == (2, *size, 3)
    torch.manual_seed(7)
    assert torch.equal(first, make(2, size, 3))
    assert size == (1, 1) or not torch.equal(first, make(2, size, 4))
