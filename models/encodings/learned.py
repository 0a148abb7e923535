"""Learned absolute embedding (ViT, Dosovitskiy et al. 2021, eq. 1), added to the tokens once."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place


class Learned(Encoding):
    """One learned vector for each token, including the extra tokens.

    `table` is [1, N, C], as in published checkpoints.
    """

    acts_on: ClassVar[ActsOn] = "tokens"

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, place.num_tokens, place.width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def embedding(self) -> Tensor:
        """Return [N, C]."""
        return self.table[0]
