"""Intervals and tests of accuracies.

Wilson 1927: the interval of a share whose ends a test at that level would just not reject. McNemar 1947: two
classifiers of the same images, by the images that one of them alone gets right.
"""

import math

_Z = 1.959963984540054
"""Of the standard normal distribution, between whose negative and itself 95 % lie."""

_EXACT = 1000
"""Most discordant images for which McNemar's p is exact; beyond, the sum would have many terms of many digits."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `right` in `count`, at least 1."""
    share, square = right / count, _Z * _Z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return centre - half if right else 0.0, centre + half if right < count else 1.0  # exactly, whatever rounding does


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided p of two equally accurate classifiers.

    Exact (binomial) up to 1,000 discordant images, else by chi-square with one degree of freedom and the correction
    for continuity.

    Args:
        first_only: images that the first alone gets right.
        second_only: those that the second alone does.
    """
    count, fewer = first_only + second_only, min(first_only, second_only)
    if count <= _EXACT:
        tail = sum(math.comb(count, k) for k in range(fewer + 1))
        return float(min(1.0, 2 * tail / (1 << count)))
    statistic = max(0, abs(first_only - second_only) - 1) ** 2 / count
    return math.erfc(math.sqrt(statistic / 2))
