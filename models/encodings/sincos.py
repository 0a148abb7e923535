"""Fixed sine-cosine embedding (Vaswani et al. 2017, section 3.5), in two dimensions, added to the tokens once.

Half of the width encodes the row y, half the column x. With F = C / 4 frequencies ω_f = T^(−f/F), f = 0 … F−1, token
(y, x) gets [sin(y·ω), cos(y·ω), sin(x·ω), cos(x·ω)], each of F numbers.
"""

from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import grid_positions


class SinCos(Encoding):
    """Fixed embedding, without parameters. Extra tokens, which have no position on the grid, get zeros.

    Args:
        place: the grid, extra tokens, width and heads; the width must be a multiple of 4.
        temperature: T, which sets the longest wavelength.

    Raises:
        ValueError: the width is not a multiple of 4, or the temperature is not positive.
    """

    acts_on: ClassVar[ActsOn] = "tokens"
    table: Tensor

    def __init__(self, place: Place, temperature: float = 10_000.0) -> None:
        super().__init__()
        if place.width % 4:
            raise ValueError(f"sincos needs a width that is a multiple of 4, got {place.width}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        frequencies = place.width // 4
        omega = temperature ** (-torch.arange(frequencies, dtype=torch.float64) / frequencies)  # [F]
        positions = grid_positions(place.grid, extra_tokens=0)  # [rows·columns, 2]
        y, x = (axis[:, None] * omega for axis in positions.unbind(dim=1))
        waves = torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], dim=1)  # [rows·columns, C]
        extra = waves.new_zeros(place.extra_tokens, place.width)
        self.register_buffer("table", torch.cat([extra, waves]).float(), persistent=False)  # [N, C]

    def embedding(self) -> Tensor:
        """Return [N, C]."""
        return self.table
