"""Log-spaced continuous position bias (Swin v2, Liu et al. 2022, section 3.3): an MLP instead of a table.

    B = 16 · sigmoid(G(Δ̂y, Δ̂x)),   Δ̂ = sign(Δ) · log₂(1 + 8·|Δ| / (M − 1)) / log₂ 8

The MLP takes offsets in units of the window of training, of side M, so another window needs no resampling. Swin v2
adds this bias to the cosine similarity of queries and keys.
Shapes: H heads, N tokens, n of them on the grid, R = (2·rows − 1)·(2·columns − 1) offsets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import log_spaced_offsets, pad_extra_tokens, relative_position_index


class SwinLogCPB(Encoding):
    """An MLP G with one hidden layer maps every offset to one number per head, at most 16; extra tokens get 0.

    Args:
        place: the grid, extra tokens, width and heads.
        hidden: width of the hidden layer.
        pretrained_window: (rows, columns) of the training window; None is the grid.

    Raises:
        ValueError: `hidden` or a side of the window is below 1.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    offsets: Tensor
    index: Tensor

    def __init__(self, place: Place, hidden: int = 512, pretrained_window: tuple[int, int] | None = None) -> None:
        super().__init__()
        window = place.grid if pretrained_window is None else pretrained_window
        if hidden < 1 or min(window) < 1:
            raise ValueError(f"hidden and the sides of pretrained_window must be at least 1, got {hidden}, {window}")
        self.extra_tokens = place.extra_tokens
        self.mlp = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, place.num_heads, bias=False))
        self.register_buffer("offsets", log_spaced_offsets(place.grid, window), persistent=False)  # [R, 2]
        self.register_buffer("index", relative_position_index(place.grid), persistent=False)  # [n, n]

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        table = 16 * torch.sigmoid(self.mlp(self.offsets))  # [R, H]
        return pad_extra_tokens(table[self.index].permute(2, 0, 1), self.extra_tokens)
