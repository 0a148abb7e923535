"""Index arithmetic of relative encodings: the table entry of each pair of tokens.

Shapes: N = rows · columns tokens of a grid in raster order. Offsets are query minus key: (yᵢ − yⱼ, xᵢ − xⱼ).
"""

import math

import torch
from torch import Tensor


def grid_positions(grid: tuple[int, int], extra_tokens: int) -> Tensor:
    """Return each token's (row, column), [N, 2], int64; extra tokens come first, at (0, 0)."""
    rows, columns = grid
    places = torch.stack([torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)], dim=1)
    return torch.nn.functional.pad(places, (0, 0, extra_tokens, 0))


def grid_offsets(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the row and the column offset of every pair of tokens, each [N, N], int64."""
    y, x = grid_positions(grid, extra_tokens=0).unbind(dim=1)
    return y[:, None] - y[None, :], x[:, None] - x[None, :]


def relative_position_index(window: tuple[int, int]) -> Tensor:
    """Return [N, N], int64: the row of a (2·rows−1)·(2·columns−1) table for each pair (Swin, eq. 4)."""
    rows, columns = window
    dy, dx = grid_offsets(window)
    return (dy + rows - 1) * (2 * columns - 1) + (dx + columns - 1)


def table_offsets(window: tuple[int, int]) -> Tensor:
    """Return the (row, column) offset of each row of such a table, float [(2·rows−1)·(2·columns−1), 2]."""
    rows, columns = (torch.arange(1 - side, side) for side in window)
    return torch.cartesian_prod(rows, columns).float()


def log_spaced_offsets(window: tuple[int, int], unit: tuple[int, int]) -> Tensor:
    """Return the offsets of a window in units of another, log-spaced as in Swin v2, float [R, 2], −1 … 1 if both agree.

    sign(Δ) · log₂(1 + 8·|Δ| / (M − 1)) / log₂ 8, with M the sides of `unit`.
    """
    scaled = 8 * table_offsets(window) / torch.tensor([max(side - 1, 1) for side in unit])
    return scaled.sign() * (1 + scaled.abs()).log2() / 3


def pad_extra_tokens(bias: Tensor, extra_tokens: int) -> Tensor:
    """Return [H, N, N] from a bias [H, n, n] between tokens of a grid; extra tokens have no position and get 0."""
    return torch.nn.functional.pad(bias, (extra_tokens, 0, extra_tokens, 0))


def piecewise(x: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Return iRPE's g(x) (Wu et al. 2021, eq. 18), int64: exact for near offsets, logarithmic for far ones, at most β.

    [x] if |x| ≤ α, else sign(x)·min(β, [α + ln(|x|/α) / ln(γ/α) · (β−α)]); [·] rounds half to even, and a β that is
    not an integer is truncated.

    Raises:
        ValueError: not 0 < α ≤ β and α < γ.
    """
    if not (0 < alpha <= beta and alpha < gamma):
        raise ValueError(f"piecewise needs 0 < alpha <= beta and alpha < gamma, got {alpha}, {beta}, {gamma}")
    x = x.double()
    distance = x.abs()
    stretched = alpha + (distance.clamp(min=alpha) / alpha).log() / math.log(gamma / alpha) * (beta - alpha)
    far = x.sign() * stretched.round().clamp(max=beta)
    return torch.where(distance <= alpha, x.round(), far).long()


def clip(x: Tensor, beta: float) -> Tensor:
    """Return iRPE's h(x) = max(−β, min(β, x)) (Wu et al. 2021, eq. 17), int64; a non-integer β is truncated."""
    return x.round().clamp(-int(beta), int(beta)).long() if x.is_floating_point() else x.clamp(-int(beta), int(beta))
