"""ALiBi over a grid: the further a key, the lower its score (Press et al. 2022, with the Euclidean distance of tokens).

    b_ij = −m_h · |offset(i, j)|,   m_h = 2^(−8h/H) for h = 1 … H

Shapes: H heads, N tokens.
"""

from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import grid_offsets, pad_extra_tokens


class ALiBi2D(Encoding):
    """Fixed bias, without parameters. The distance to and from extra tokens is 0."""

    acts_on: ClassVar[ActsOn] = "attention"
    slopes: Tensor
    distance: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        heads = torch.arange(1, place.num_heads + 1)
        dy, dx = grid_offsets(place.grid)
        distance = pad_extra_tokens((dy**2 + dx**2).sqrt()[None], place.extra_tokens)
        self.register_buffer("slopes", 2.0 ** (-8 * heads / place.num_heads), persistent=False)  # [H]
        self.register_buffer("distance", distance, persistent=False)  # [1, N, N]

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        return -self.slopes[:, None, None] * self.distance
