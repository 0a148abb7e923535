"""Buckets of iRPE, computed for each pair in plain Python (Wu et al. 2021, section 3.2 and appendix).

[·] rounds half to even, as Python's round does; a non-integer β is truncated.
"""

import itertools
import math
from collections.abc import Callable

from models.encodings import Place
from models.encodings.irpe_buckets import IndexFunction, Mapping, Quantization
from tests.models.encodings.oracle import Offset, pairs

Limits = tuple[float, float, float]
FARTHEST = 45  # tokens; the longest distance in the tests
RANKS = {
    distance: rank
    for rank, distance in enumerate(sorted({math.sqrt(a * a + b * b) for a in range(46) for b in range(46)}))
    if distance <= FARTHEST
}
"""All distances on an integer lattice, sorted: 0 → 0, 1 → 1, 1.41 → 2, 2 → 3, 2.24 → 4, …"""


def slow_piecewise(x: float, alpha: float, beta: float, gamma: float) -> int:
    """Return g(x), eq. 18."""
    if abs(x) <= alpha:
        return round(x)
    stretched = round(alpha + math.log(abs(x) / alpha) / math.log(gamma / alpha) * (beta - alpha))
    return int(math.copysign(min(stretched, beta), x))


def slow_clip(x: float, _alpha: float, beta: float, _gamma: float) -> int:
    """Return h(x), eq. 17."""
    return max(-int(beta), min(int(beta), round(x)))


INDEX_FUNCTIONS: dict[IndexFunction, Callable[[float, float, float, float], int]] = {
    "piecewise": slow_piecewise,
    "clip": slow_clip,
}


def slow_buckets(
    place: Place, mapping: Mapping, function: IndexFunction, limits: Limits, quantization: Quantization = "ranked"
) -> dict[str, tuple[list[list[int]], int]]:
    """Return the bucket of every pair and the number of buckets, for each part of the mapping."""

    def g(x: float) -> int:
        return INDEX_FUNCTIONS[function](x, *limits) + int(limits[1])

    def distance(offset: Offset) -> float:
        return math.sqrt(offset[0] ** 2 + offset[1] ** 2)

    each_way = 2 * int(limits[1]) + 1
    parts: dict[str, tuple[Callable[[Offset], int], int]]
    match mapping, quantization:
        case "euclidean", _:
            parts = {mapping: (lambda offset: g(round(distance(offset))), each_way)}
        case "quantization", "ranked":
            parts = {mapping: (lambda offset: g(RANKS[distance(offset)]), each_way)}
        case "quantization", "squared":
            parts = {mapping: (lambda offset: g(offset[0] ** 2 + offset[1] ** 2), each_way)}
        case "cross", _:
            parts = {
                "rows": (lambda offset: g(offset[0]), each_way),
                "columns": (lambda offset: g(offset[1]), each_way),
            }
        case _:
            parts = {mapping: (lambda offset: g(offset[0]) * each_way + g(offset[1]), each_way**2)}
    result = {}
    for part, (bucket, count) in parts.items():
        index = [[count] * place.num_tokens for _ in range(place.num_tokens)]  # the extra tokens' bucket is the last
        for i, j, offset in pairs(place):
            if offset is not None:
                index[i][j] = bucket(offset)
        result[part] = index, count + min(place.extra_tokens, 1)
    return result


MAPPINGS: tuple[Mapping, ...] = ("euclidean", "quantization", "cross", "product")
QUANTIZATIONS: tuple[Quantization, ...] = ("ranked", "squared")
FORMS: list[tuple[Mapping, IndexFunction, Quantization]] = [
    (mapping, function, quantization)
    for mapping, function in itertools.product(MAPPINGS, INDEX_FUNCTIONS)
    for quantization in (QUANTIZATIONS if mapping == "quantization" else QUANTIZATIONS[:1])
]
"""(mapping, index function, quantization) of all bucket assignments."""
