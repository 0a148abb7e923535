"""Image relative position encoding (iRPE, Wu et al. 2021): product mapping, contextual mode, on keys.

    b_ij = (q_i/√d) · r_bucket(i,j),  bucket(i, j) = (row bucket, column bucket) of the offset

The products q·rᵀ are taken over buckets first and then looked up: O(N·R·d), not O(N²·d).
Shapes: B images, H heads, N tokens, d head width, R buckets.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.offsets import grid_offsets, piecewise


def product_buckets(place: Place, alpha: float, beta: float, gamma: float) -> tuple[Tensor, int]:
    """Return the bucket of every pair [N, N], int64, and R.

    A pair's bucket is that of its row offset times the number of column buckets, plus that of its column offset. All
    pairs with an extra token share one more bucket, the last.
    """
    side = int(beta)
    dy, dx = (piecewise(offset, alpha, beta, gamma) + side for offset in grid_offsets(place.grid))
    on_grid = dy * (2 * side + 1) + dx
    buckets = torch.full((place.num_tokens, place.num_tokens), (2 * side + 1) ** 2)
    buckets[place.extra_tokens :, place.extra_tokens :] = on_grid
    return buckets, (2 * side + 1) ** 2 + (1 if place.extra_tokens else 0)


class IRPEProductContextualK(Encoding):
    """A learned vector for each bucket, multiplied with the query: what a key's place means depends on who asks.

    `table` is [1 or H, d, R], as in published checkpoints. It starts at zero, as the authors' does.

    Args:
        place: where it acts.
        ratio: r, which sets the index function: α, β, γ = r, 2r, 8r.
        shared: one table for all heads, or one each.

    Raises:
        ValueError: the ratio is below 0.5, which leaves a single bucket.
    """

    acts_on: ClassVar[ActsOn] = "scores"
    flat_index: Tensor

    def __init__(self, place: Place, ratio: float = 1.9, shared: bool = True) -> None:
        super().__init__()
        if ratio < 0.5:
            raise ValueError(f"ratio must be at least 0.5, got {ratio}")
        buckets, num_buckets = product_buckets(place, ratio, 2 * ratio, 8 * ratio)
        self.table = nn.Parameter(torch.zeros(1 if shared else place.num_heads, place.head_dim, num_buckets))
        # Where to find pair (i, j) in the [N·R] products of one head: row i begins at i·R.
        flat = buckets + torch.arange(place.num_tokens)[:, None] * num_buckets
        self.register_buffer("flat_index", flat.flatten(), persistent=False)  # [N·N]

    def scores(self, q: Tensor, k: Tensor) -> Tensor:  # noqa: ARG002 -- on keys, only the query is needed
        """Return [B, H, N, N] from the scaled q [B, H, N, d]."""
        batch, num_heads, num_tokens, _ = q.shape
        products = (q @ self.table).flatten(2)  # [B, H, N·R]
        return products.index_select(2, self.flat_index).view(batch, num_heads, num_tokens, num_tokens)
