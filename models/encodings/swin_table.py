"""Learned relative position bias (Swin v1, Liu et al. 2021, eq. 4): softmax(QKᵀ/√d + B)·V.

Shapes: H heads, N tokens, n = rows · columns of them on the grid, R = (2·rows − 1)·(2·columns − 1) offsets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import pad_extra_tokens, relative_position_index


class SwinTable(Encoding):
    """One learned number per head for each (row, column) offset between two tokens; extra tokens get 0.

    `table` is [R, H], as in published checkpoints.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    index: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        rows, columns = place.grid
        self.extra_tokens = place.extra_tokens
        self.table = nn.Parameter(torch.empty((2 * rows - 1) * (2 * columns - 1), place.num_heads))
        self.register_buffer("index", relative_position_index(place.grid), persistent=False)  # [n, n]
        nn.init.trunc_normal_(self.table, std=0.02)

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        return pad_extra_tokens(self.table[self.index].permute(2, 0, 1), self.extra_tokens)
