"""Contextual lookups through buckets: products with a table are computed once per bucket, not once per pair.

Shapes: B images, H heads, N tokens, d head width, R buckets. `buckets` is [N, N], int64: the bucket of the pair (i, j).
"""

import torch
from torch import Tensor, nn


class ScoreLookup(nn.Module):
    """x_i · r_bucket(i,j) for every pair, where x is queries or keys: O(N·R·d), then one gather with a constant index.

    `table` is [1 or H, d, R], initialised to zero.

    Args:
        buckets: the bucket of every pair.
        num_buckets: R.
        head_dim: d.
        tables: 1 for all heads, or H.
    """

    flat_index: Tensor

    def __init__(self, buckets: Tensor, num_buckets: int, head_dim: int, tables: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tables, head_dim, num_buckets))
        # Index of pair (i, j) in the [N·R] products of one head: row i begins at i·R.
        flat = buckets + torch.arange(len(buckets))[:, None] * num_buckets
        self.register_buffer("flat_index", flat.flatten(), persistent=False)  # [N·N]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, H, N, d] to [B, H, N, N]."""
        _, num_heads, num_tokens, _ = x.shape
        products = (x @ self.table).flatten(2).flatten(0, 1)  # [B·H, N·R]
        # Gathering rows, one for each pair, is several times faster than gathering elements (benchmarks/lookup.py).
        scores = products.T.index_select(0, self.flat_index).T  # [B·H, N·N]
        return scores.reshape(-1, num_heads, num_tokens, num_tokens)


class ValueLookup(nn.Module):
    """Σ_j α_ij · r_bucket(i,j): attention is summed into buckets first, which avoids a tensor [N, N, d].

    The sum over a row's buckets is a product with a constant of zeros and ones, which is fast in every runtime; a
    scatter would need its index expanded to the batch. `table` is [1 or H, R, d], initialised to zero.

    Args:
        buckets: the bucket of every pair.
        num_buckets: R.
        head_dim: d.
        tables: 1 for all heads, or H.
    """

    member: Tensor

    def __init__(self, buckets: Tensor, num_buckets: int, head_dim: int, tables: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tables, num_buckets, head_dim))
        member = nn.functional.one_hot(buckets, num_buckets).float()
        self.register_buffer("member", member, persistent=False)  # [N, N, R]: whether pair (i, j) is in bucket r

    def forward(self, attention: Tensor) -> Tensor:
        """Map attention [B, H, N, N] to [B, H, N, d]."""
        batch, num_heads, num_tokens, _ = attention.shape
        by_query = attention.permute(2, 0, 1, 3).reshape(num_tokens, batch * num_heads, num_tokens)
        sums = (by_query @ self.member).view(num_tokens, batch, num_heads, -1)  # [N, B, H, R]
        return sums.permute(1, 2, 0, 3) @ self.table
