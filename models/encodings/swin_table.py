"""Learned relative position bias (Swin v1, Liu et al. 2021, eq. 4): softmax(QKᵀ/√d + B)·V.

Shapes: H heads, N = rows · columns tokens, R = (2·rows − 1)·(2·columns − 1) offsets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import relative_position_index


class SwinTable(Encoding):
    """One learned number per head for each (row, column) offset between two tokens.

    `table` is [R, H], as in published checkpoints.

    Raises:
        ValueError: there are extra tokens, for which the table has no entry.
    """

    acts_on: ClassVar[ActsOn] = "scores"
    index: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        if place.extra_tokens:
            raise ValueError("swin-table has no entry for a CLS token; use pool='mean'")
        rows, columns = place.grid
        self.table = nn.Parameter(torch.empty((2 * rows - 1) * (2 * columns - 1), place.num_heads))
        self.register_buffer("index", relative_position_index(place.grid), persistent=False)  # [N, N]
        nn.init.trunc_normal_(self.table, std=0.02)

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        return self.table[self.index].permute(2, 0, 1).contiguous()
