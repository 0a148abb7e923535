"""Buckets of image relative position encoding (iRPE, Wu et al. 2021): offsets that share an entry of a table.

Four mappings take the offset of a pair to one bucket, or to one for rows and one for columns; an index function g
limits far offsets. Buckets are numbered as in the published code, so published tables fit: −β … β become 0 … 2β,
although distances never use the lower half. All pairs with an extra token share one additional bucket, the last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.encodings.base import Place
from models.encodings.offsets import clip, grid_offsets, piecewise

Mapping = Literal["euclidean", "quantization", "cross", "product"]
IndexFunction = Literal["piecewise", "clip"]
Quantization = Literal["ranked", "squared"]


@dataclass(frozen=True)
class Buckets:
    """Bucket of every pair [N, N], int64, and the number of buckets."""

    index: Tensor
    count: int


def irpe_buckets(
    mapping: Mapping,
    place: Place,
    index_function: IndexFunction,
    limits: tuple[float, float, float],
    quantization: Quantization = "ranked",
) -> dict[str, Buckets]:
    """Return the buckets of a mapping by name: `rows` and `columns` for cross, otherwise one under the mapping's name.

    Args:
        mapping: how an offset becomes the input of the index function.
        place: the tokens.
        index_function: piecewise (eq. 18), or clip at ±β.
        limits: α, β, γ; clip needs β only.
        quantization: ranked, the rank of a distance among all distances on a grid (the paper); or squared, its square
            (the published code).

    Raises:
        ValueError: an unknown mapping, index function or quantization, or invalid limits.
    """
    g, side = _index_function(index_function, limits)
    dy, dx = grid_offsets(place.grid)
    squared = dy**2 + dx**2
    match mapping:
        case "euclidean":
            return {mapping: _with_extra(g(squared.sqrt().round()), 2 * side + 1, place)}
        case "quantization" if quantization == "ranked":
            return {mapping: _with_extra(g(_rank(squared)), 2 * side + 1, place)}
        case "quantization" if quantization == "squared":
            return {mapping: _with_extra(g(squared), 2 * side + 1, place)}
        case "quantization":
            raise ValueError(f"unknown quantization {quantization!r}; known: ranked, squared")
        case "cross":
            return {"rows": _with_extra(g(dy), 2 * side + 1, place), "columns": _with_extra(g(dx), 2 * side + 1, place)}
        case "product":
            return {mapping: _with_extra(g(dy) * (2 * side + 1) + g(dx), (2 * side + 1) ** 2, place)}
    raise ValueError(f"unknown mapping {mapping!r}; known: euclidean, quantization, cross, product")


def _index_function(name: str, limits: tuple[float, float, float]) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return g, shifted so that its buckets begin at 0, and the largest bucket before the shift."""
    alpha, beta, gamma = limits
    if beta < 1:
        raise ValueError(f"beta must be at least 1, or all offsets share one bucket; got {beta}")
    side = int(beta)
    match name:
        case "piecewise":
            return lambda x: piecewise(x, alpha, beta, gamma) + side, side
        case "clip":
            return lambda x: clip(x, beta) + side, side
    raise ValueError(f"unknown index function {name!r}; known: piecewise, clip")


def _with_extra(on_grid: Tensor, count: int, place: Place) -> Buckets:
    extra = place.extra_tokens
    index = torch.full((place.num_tokens, place.num_tokens), count)
    index[extra:, extra:] = on_grid
    return Buckets(index, count + (1 if extra else 0))


def _rank(squared: Tensor) -> Tensor:
    """Return the rank of each distance among those of an unbounded grid: 0, 1, √2, 2, √5, … → 0, 1, 2, 3, 4, …"""
    farthest = int(squared.max())
    sides = torch.arange(int(farthest**0.5) + 1) ** 2
    sums = (sides[:, None] + sides[None, :]).flatten()
    occurs = torch.zeros(farthest + 1, dtype=torch.int64)
    occurs[sums[sums <= farthest]] = 1
    ranks: Tensor = occurs.cumsum(0) - 1
    return ranks[squared]
