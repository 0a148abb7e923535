"""Image relative position encoding (iRPE, Wu et al. 2021) in all its forms: mapping × mode × queries, keys or values.

With r a table over buckets, α the attention, and bucket(i, j) the bucket of the offset from token j to token i:

    bias on keys           b_ij = r_bucket(i,j)                     static
    bias on queries        b_ij = r_bucket(j,i)                     static
    contextual on keys     b_ij = (q_i/√d) · r_bucket(i,j)
    contextual on queries  b_ij = (k_j/√d) · r_bucket(j,i)
    contextual on values   z_i += Σ_j α_ij r_bucket(i,j)

Shapes: B images, H heads, N tokens, d head width, R buckets.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encodings.base import ActsOn, Encoding, Place
from models.encodings.irpe_buckets import Buckets, IndexFunction, Mapping, Quantization, irpe_buckets
from models.encodings.lookup import ScoreLookup, ValueLookup

MODES = ("bias", "contextual")
TARGETS = ("q", "k", "v", "qk", "kv", "qkv")


class BiasLookup(nn.Module):
    """r_bucket(i,j) for every pair. `table` is [1 or H, R] and starts at zero."""

    index: Tensor

    def __init__(self, buckets: Tensor, num_buckets: int, tables: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tables, num_buckets))
        self.register_buffer("index", buckets, persistent=False)  # [N, N]

    def forward(self) -> Tensor:
        """Return [1 or H, N, N]."""
        return self.table[:, self.index]


class IRPE(Encoding):
    """Learned number or vector for each bucket, on queries, keys and values.

    `q`, `k` and `v` hold a lookup for each part of the mapping (`rows` and `columns` for cross, otherwise one). Their
    tables have the shapes of published checkpoints and are initialised to zero, as in the authors' code.

    Args:
        place: the grid, extra tokens, width and heads.
        mapping: euclidean, quantization, cross or product.
        mode: bias or contextual.
        on: any of the letters q, k, v.
        ratio: r, which sets α, β, γ = r, 2r, 8r.
        limits: α, β, γ themselves, instead of a ratio.
        index_function: piecewise or clip.
        shared: True for one table for all heads, False for one per head.
        quantization: ranked (the paper) or squared (the published code).

    Raises:
        ValueError: a bias on values, which does not exist, or an invalid option.
    """

    acts_on: ClassVar[ActsOn] = "attention"

    def __init__(
        self,
        place: Place,
        mapping: Mapping,
        mode: str,
        on: str,
        ratio: float = 1.9,
        limits: tuple[float, float, float] | None = None,
        index_function: IndexFunction = "piecewise",
        shared: bool = True,
        quantization: Quantization = "ranked",
    ) -> None:
        super().__init__()
        if mode not in MODES or not on or not set(on) <= set("qkv"):
            raise ValueError(f"iRPE is bias or contextual, on one or more of q, k and v; got {mode} on {on!r}")
        if mode == "bias" and "v" in on:
            raise ValueError("a bias on values does not exist: values have no scores to add it to; use contextual")
        if limits is None:
            limits = (ratio, 2 * ratio, 8 * ratio)
        self.num_heads, self.scale = place.num_heads, place.head_dim**-0.5
        parts = irpe_buckets(mapping, place, index_function, limits, quantization)
        tables = 1 if shared else place.num_heads

        def lookups(make: Callable[[Buckets], nn.Module]) -> nn.ModuleDict:
            return nn.ModuleDict({name: make(buckets) for name, buckets in parts.items()})

        if mode == "bias":
            # Indexed by the pair (j, i): the transpose.
            self.q = lookups(lambda part: BiasLookup(part.index.T, part.count, tables)) if "q" in on else None
            self.k = lookups(lambda part: BiasLookup(part.index, part.count, tables)) if "k" in on else None
            self.v = None
        else:
            width = place.head_dim
            self.q = lookups(lambda part: ScoreLookup(part.index, part.count, width, tables)) if "q" in on else None
            self.k = lookups(lambda part: ScoreLookup(part.index, part.count, width, tables)) if "k" in on else None
            self.v = lookups(lambda part: ValueLookup(part.index, part.count, width, tables)) if "v" in on else None
        self.contextual = mode == "contextual"

    def bias(self) -> Tensor | None:
        """Return [H, N, N], or None in contextual mode."""
        if self.contextual:
            return None
        terms = [lookup() for lookups in (self.q, self.k) if lookups is not None for lookup in lookups.values()]
        total: Tensor = sum(terms[1:], start=terms[0])
        return total.expand(self.num_heads, -1, -1)

    def scores(self, q: Tensor, k: Tensor) -> Tensor | None:
        """Return [B, H, N, N] from the scaled q and from k, each [B, H, N, d]; None if it acts on neither."""
        if not self.contextual:
            return None
        terms: list[Tensor] = []
        if self.k is not None:
            terms += [lookup(q) for lookup in self.k.values()]
        if self.q is not None:
            terms += [lookup(k * self.scale).transpose(-2, -1) for lookup in self.q.values()]
        return sum(terms[1:], start=terms[0]) if terms else None

    def values(self, attention: Tensor) -> Tensor | None:
        """Return [B, H, N, d] from attention [B, H, N, N]; None if it does not act on values."""
        if self.v is None:
            return None
        terms: list[Tensor] = [lookup(attention) for lookup in self.v.values()]
        return sum(terms[1:], start=terms[0])
