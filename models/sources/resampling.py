"""Learned position tables for another resolution than that of training, by the method the tables' authors use."""

import torch
from torch import Tensor

Grid = tuple[int, int]


def resample_embedding(table: Tensor, old: Grid, new: Grid, extra_tokens: int) -> Tensor:
    """Return a learned absolute embedding [1, N, C] for another grid: bicubic with antialiasing, as timm does.

    Args:
        table: extra tokens first, which have no place on the grid and are kept as they are.
        old: (rows, columns) of the table's grid.
        new: (rows, columns) wanted.
        extra_tokens: how many rows of the table belong to them.
    """
    if old == new:
        return table
    extra, on_grid = table[:, :extra_tokens], table[:, extra_tokens:]
    planes = on_grid.float().reshape(1, *old, -1).permute(0, 3, 1, 2)  # [1, C, rows, columns]
    planes = torch.nn.functional.interpolate(planes, size=new, mode="bicubic", antialias=True)
    return torch.cat([extra, planes.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def resample_window_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Return a table [(2·rows − 1)·(2·columns − 1), H] of window `old` for `new` as Swin's authors do, bicubic."""
    planes = table.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1)
    size = (2 * new[0] - 1, 2 * new[1] - 1)
    resized = torch.nn.functional.interpolate(planes, size=size, mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].T.contiguous()


def resample_relative_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Return a relative table [R, H] for another grid as BEiT's authors do; rows of extra tokens are kept as they are.

    The old offsets are thought to be spaced geometrically over the new grid, so that near ones keep their values; in
    between it is linear, as timm does it (theirs is cubic).
    """
    offsets = (2 * old[0] - 1) * (2 * old[1] - 1)
    planes = table[:offsets].double().T.reshape(-1, 2 * old[0] - 1, 2 * old[1] - 1)  # [H, dy, dx]
    down, across = (_weights(*sides) for sides in zip(old, new, strict=True))
    resized = (down @ planes @ across.T).flatten(1).T.to(table.dtype)
    return torch.cat([resized, table[offsets:]])


def _weights(old: int, new: int) -> Tensor:
    """Return how much each old offset counts in each new one, [2·new − 1, 2·old − 1]; offsets beyond take the last."""
    if old == 1:
        return torch.ones(2 * new - 1, 1, dtype=torch.float64)
    ratio = _ratio(old - 1, new - 1)
    steps = torch.cumsum(ratio ** torch.arange(old - 1, dtype=torch.float64), dim=0)  # 1, 1 + q, 1 + q + q², …
    places = torch.cat([-steps.flip(0), steps.new_zeros(1), steps])
    wanted = torch.arange(1 - new, new, dtype=torch.float64).clamp(places[0], places[-1])
    right = torch.searchsorted(places, wanted).clamp(min=1)
    left = right - 1
    share = (wanted - places[left]) / (places[right] - places[left])
    weights = wanted.new_zeros(len(wanted), len(places))
    weights.scatter_(1, left[:, None], 1 - share[:, None])
    return weights.scatter_(1, right[:, None], share[:, None])


def _ratio(steps: int, reach: int) -> float:
    """Return q with 1 + q + … + q^(steps−1) = reach, between 1.01 and 1.5, as BEiT's authors find it."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        middle = (low + high) / 2
        if (1 - middle**steps) / (1 - middle) > reach:
            high = middle
        else:
            low = middle
    return middle
