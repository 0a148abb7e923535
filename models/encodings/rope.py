"""Rotary position embedding over a grid (RoPE, Su et al. 2021): axial (EVA-02) or mixed (RoPE-ViT, Heo et al. 2024).

Queries and keys are rotated by angles that grow with their position, so a score depends on the offset of two tokens.

    axial: angles y·ω_f and x·ω_f, with ω_f = T^(−4f/d) for f = 0 … d/4 − 1
    mixed: angles y·ω^y_hf + x·ω^x_hf for f = 0 … d/2 − 1

The two numbers of a rotated pair are d/2 apart. Shapes: H heads, N tokens, d head width.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place, Rotation
from models.encodings.offsets import grid_positions


class RoPE(Encoding):
    """Fixed angles: half of the pairs rotate with the row, half with the column. Extra tokens are not rotated.

    Args:
        place: the grid, extra tokens, width and heads; the head width must be a multiple of 4.
        temperature: T, which sets the lowest frequency.
        reference_grid: (rows, columns) to which positions are scaled (EVA-02), so the range of angles is the same at
            every resolution; None keeps positions in tokens.

    Raises:
        ValueError: the head width is not a multiple of 4, or the temperature is not positive.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    cos: Tensor
    sin: Tensor

    def __init__(self, place: Place, temperature: float = 100.0, reference_grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        omega = _frequencies(place.head_dim, temperature)
        positions = grid_positions(place.grid, place.extra_tokens).double()  # [N, 2]
        if reference_grid is not None:
            positions = positions * torch.tensor(reference_grid) / torch.tensor(place.grid)
        angles = (positions[:, :, None] * omega).flatten(1).repeat(1, 2)[None]  # [1, N, d]
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def rotation(self) -> Rotation:
        """Return cos and sin, each [1, N, d]."""
        return Rotation(self.cos, self.sin)


class RoPEMixed(Encoding):
    """Learned angles: every pair of every head has its own frequencies for rows and columns.

    `frequencies` is [2, H, d/2], rows first, initialised to the axial ones, rotated by a random angle per head.

    Args:
        place: the grid, extra tokens, width and heads; the head width must be a multiple of 4.
        temperature: T of the initial frequencies.

    Raises:
        ValueError: the head width is not a multiple of 4, or the temperature is not positive.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    positions: Tensor

    def __init__(self, place: Place, temperature: float = 10.0) -> None:
        super().__init__()
        omega = _frequencies(place.head_dim, temperature).float()
        start = torch.rand(place.num_heads, 1) * 2 * math.pi
        directions = torch.cat([start.expand(-1, len(omega)), start.expand(-1, len(omega)) + math.pi / 2], dim=1)
        speeds = omega.repeat(2)  # [d/2]
        self.frequencies = nn.Parameter(torch.stack([speeds * directions.sin(), speeds * directions.cos()]))
        positions = grid_positions(place.grid, place.extra_tokens).float()
        self.register_buffer("positions", positions, persistent=False)  # [N, 2]

    def rotation(self) -> Rotation:
        """Return cos and sin, each [H, N, d]."""
        angles = torch.einsum("na,ahf->hnf", self.positions, self.frequencies).repeat(1, 1, 2)  # [H, N, d]
        return Rotation(angles.cos(), angles.sin())


def _frequencies(head_dim: int, temperature: float) -> Tensor:
    """Return ω [d/4], float64."""
    if head_dim % 4:
        raise ValueError(f"rope needs a head width that is a multiple of 4, got {head_dim}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    count = head_dim // 4
    return temperature ** (-torch.arange(count, dtype=torch.float64) / count)
