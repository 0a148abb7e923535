"""Relative position vectors on keys and values (Shaw et al. 2018, eq. 3 and 4), over the sequence of tokens.

    e_ij = q_i · (k_j + w^K_clip(j−i, k)) / √d        z_i = Σ_j α_ij (v_j + w^V_clip(j−i, k))

The sequence is one-dimensional: extra tokens first, then the grid in raster order, where neighbours in a column are
far apart. Shapes: B images, H heads, N tokens, d head width, 2k + 1 distances.
"""

from typing import ClassVar

import torch
from torch import Tensor

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.lookup import ScoreLookup, ValueLookup


class Shaw(Encoding):
    """Learned vector for each clipped distance, shared by all heads.

    Tables are [1, d, 2k+1] on keys and [1, 2k+1, d] on values, with small initial values.

    Args:
        place: the grid, extra tokens, width and heads.
        on_values: whether values have a table too.
        clip: k, in tokens; larger distances are clipped to it.

    Raises:
        ValueError: k is below 1.
    """

    acts_on: ClassVar[ActsOn] = "attention"

    def __init__(self, place: Place, on_values: bool, clip: int = 16) -> None:
        super().__init__()
        if clip < 1:
            raise ValueError(f"clip must be at least 1 token, got {clip}")
        order = torch.arange(place.num_tokens)
        distance = (order[None, :] - order[:, None]).clamp(-clip, clip) + clip  # [N, N], 0 … 2k
        self.k = ScoreLookup(distance, 2 * clip + 1, place.head_dim, tables=1)
        self.v = ValueLookup(distance, 2 * clip + 1, place.head_dim, tables=1) if on_values else None
        for parameter in self.parameters():
            torch.nn.init.trunc_normal_(parameter, std=0.02)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:  # noqa: ARG002 -- vectors on keys need the query only
        """Return [B, H, N, N] from the scaled q [B, H, N, d]."""
        scores: Tensor = self.k(q)
        return scores

    def values(self, attention: Tensor) -> Tensor | None:
        """Return [B, H, N, d] from attention [B, H, N, N]; None if values have no table."""
        return None if self.v is None else self.v(attention)
