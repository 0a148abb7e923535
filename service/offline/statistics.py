"""Confidence intervals and tests of accuracies.

Wilson 1927: score interval of a share. McNemar 1947: comparison of two classifiers on the same images, from the images
that only one of them classifies correctly.
"""

import math

_Z = 1.959963984540054
"""Quantile of the standard normal distribution for a 95 % interval."""

_EXACT = 1000
"""Maximum number of discordant images for an exact p in McNemar's test; beyond, the sum is too expensive."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `right` in `count`, at least 1."""
    share, square = right / count, _Z * _Z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return (
        centre - half if right else 0.0,
        centre + half if right < count else 1.0,
    )  # exact 0 and 1


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the two-sided p of two equally accurate classifiers.

    Exact (binomial) up to 1,000 discordant images, else by chi-square with one degree of freedom and the correction
    for continuity.

    Args:
        first_only: number of images that only the first classifies correctly.
        second_only: number of images that only the second classifies correctly.
    """
    count, fewer = first_only + second_only, min(first_only, second_only)
    if count <= _EXACT:
        tail = sum(math.comb(count, k) for k in range(fewer + 1))
        return float(min(1.0, 2 * tail / (1 << count)))
    statistic = max(0, abs(first_only - second_only) - 1) ** 2 / count
    return math.erfc(math.sqrt(statistic / 2))
