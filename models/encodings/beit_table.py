"""Learned relative position bias with a CLS token (BEiT, Bao et al. 2022): Swin's table and three more rows.

Shapes: H heads, N tokens, R = (2·rows − 1)·(2·columns − 1) offsets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import relative_position_index


class BEiTTable(Encoding):
    """One learned number per head for each offset, and one each for extra → grid, grid → extra, extra → extra.

    `table` is [R + 3, H], as in published checkpoints; it has the last three rows even without extra tokens.
    """

    acts_on: ClassVar[ActsOn] = "attention"
    index: Tensor

    def __init__(self, place: Place) -> None:
        super().__init__()
        rows, columns = place.grid
        offsets = (2 * rows - 1) * (2 * columns - 1)
        self.table = nn.Parameter(torch.empty(offsets + 3, place.num_heads))
        extra = place.extra_tokens
        index = torch.empty(place.num_tokens, place.num_tokens, dtype=torch.int64)
        index[extra:, extra:] = relative_position_index(place.grid)
        index[:extra, extra:] = offsets  # queries: extra tokens, keys: the grid
        index[extra:, :extra] = offsets + 1  # queries: the grid, keys: extra tokens
        index[:extra, :extra] = offsets + 2
        self.register_buffer("index", index, persistent=False)  # [N, N]
        nn.init.trunc_normal_(self.table, std=0.02)

    def bias(self) -> Tensor:
        """Return [H, N, N]."""
        return self.table[self.index].permute(2, 0, 1)
