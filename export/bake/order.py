"""Token orders: a permutation of a grid's tokens, as int64 [L].

`order[t]` is the raster index of the token that stands at place t.
"""

import torch
from torch import Tensor

from models.swin import window_partition

Size = tuple[int, int]


def window_order(grid: Size, window: Size, shift: Size) -> Tensor:
    """Return the order in which shifted windows, and the tokens in them, follow one another."""
    raster = torch.arange(grid[0] * grid[1]).view(1, *grid, 1)
    shifted = torch.roll(raster, (-shift[0], -shift[1]), dims=(1, 2))
    return window_partition(shifted, window).flatten()


def reorder(have: Tensor, want: Tensor) -> Tensor:
    """Return the index [len(want)] that takes tokens standing in order `have` to those of `want`."""
    place = torch.empty_like(have)
    place[have] = torch.arange(len(have))  # where each raster index stands now
    return place[want]


def merging_order(grid: Size, merged: Tensor) -> Tensor:
    """Return the order [L] in which the four parts of each merged token follow one another, column by column.

    Args:
        grid: (rows, columns) before merging.
        merged: the order [L/4] of the merged tokens, on the grid of half the sides.
    """
    rows, columns = grid
    raster = torch.arange(rows * columns).view(rows // 2, 2, columns // 2, 2)
    parts = raster.permute(0, 2, 3, 1).reshape(-1, 4)  # [L/4, 4]
    return parts[merged].flatten()
