"""Constant token orders against the steps they replace."""

import pytest
import torch

from export.bake.order import merging_order, reorder, window_order
from models.swin import PatchMerging, window_partition, window_reverse

CASES = [((4, 4), (2, 2), (1, 1)), ((6, 9), (3, 3), (1, 1)), ((2, 8), (2, 4), (0, 2)), ((4, 6), (4, 6), (0, 0))]


@pytest.mark.parametrize(("grid", "window", "shift"), CASES)
def test_an_order_is_roll_and_partition(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> None:
    x = torch.randn(2, *grid, 5)
    windows = window_partition(torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2)), window)
    in_order = x.flatten(1, 2)[:, window_order(grid, window, shift)]
    assert torch.equal(in_order.reshape(windows.shape), windows)


@pytest.mark.parametrize(("grid", "window", "shift"), CASES)
def test_back_to_raster_is_reverse_and_roll(
    grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    order, raster = window_order(grid, window, shift), torch.arange(grid[0] * grid[1])
    tokens = torch.randn(2, len(raster), 5)
    windows = tokens.reshape(-1, window[0] * window[1], 5)
    expected = torch.roll(window_reverse(windows, window, grid), shift, dims=(1, 2)).flatten(1, 2)
    assert torch.equal(tokens[:, reorder(order, raster)], expected)


def test_merging_takes_four_parts_from_one_order_into_the_next() -> None:
    grid = (8, 12)
    merging = PatchMerging(grid, width=1, eps=1e-6)
    before, after = window_order(grid, (4, 4), (2, 2)), window_order((4, 6), (2, 2), (1, 1))
    raster = torch.arange(96).float()
    x = raster.view(1, 8, 12, 1).view(1, 4, 2, 6, 2, 1)
    parts = torch.stack([x[:, :, 0, :, 0], x[:, :, 1, :, 0], x[:, :, 0, :, 1], x[:, :, 1, :, 1]], dim=3)  # Swin's order
    expected = parts.reshape(24, 4)[after]
    taken = raster[before][reorder(before, merging_order(grid, after))].view(24, 4)
    assert torch.equal(taken, expected)
    assert merging.reduction.weight.shape == (2, 4)
