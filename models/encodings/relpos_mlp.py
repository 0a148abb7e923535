"""Relative position bias from an MLP over offsets (timm's vit_relpos, after the first draft of Swin v2).

    B = G(Δ̂y, Δ̂x),   Δ̂ = sign(Δ) · ln(1 + |Δ|)

Shapes: H heads, N tokens, n of them on the grid, R = (2·rows − 1)·(2·columns − 1) offsets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import pad_extra_tokens, relative_position_index, table_offsets


class RelPosMLP(Encoding):
    """An MLP G with one hidden layer maps every offset to one number per head; extra tokens get 0.

    Args:
        place: the grid, extra tokens, width and heads.
        hidden: width of the hidden layer.

    Raises:
        ValueError: `hidden` is below 1.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    offsets: Tensor
    index: Tensor

    def __init__(self, place: Place, hidden: int = 128) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {hidden}")
        self.extra_tokens = place.extra_tokens
        self.mlp = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, place.num_heads))
        offsets = table_offsets(place.grid)
        self.register_buffer("offsets", offsets.sign() * torch.log1p(offsets.abs()), persistent=False)  # [R, 2]
        self.register_buffer("index", relative_position_index(place.grid), persistent=False)  # [n, n]

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        table: Tensor = self.mlp(self.offsets)  # [R, H]
        return pad_extra_tokens(table[self.index].permute(2, 0, 1), self.extra_tokens)
