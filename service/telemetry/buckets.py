"""Log-linear buckets of durations, as in an HDR histogram: bounded memory, bounded relative error.

Below 64 µs every microsecond has its own bucket. Above, every octave [2^k, 2^(k+1)) has FINENESS buckets, none wider
than 1/32 of its lower edge: the middle of a bucket is within 1.6 % of all durations in it.
"""

import numpy as np
from numpy.typing import NDArray

FINENESS = 32
_BITS = 5  # of FINENESS
_LONGEST_BITS = 37  # 38 hours in microseconds, longer than any deadline; longer ones count as this long
BUCKETS = (_LONGEST_BITS - _BITS + 1) * FINENESS


def bucket_of(microseconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each duration."""
    durations = np.clip(microseconds, 0, 2**_LONGEST_BITS - 1)
    _, bits = np.frexp(durations.astype(np.float64))  # 2^(bits-1) <= duration < 2^bits, exact below 2^53
    shift = np.maximum(bits.astype(np.int64) - _BITS - 1, 0)
    buckets: NDArray[np.int64] = FINENESS * shift + (durations >> shift)
    return buckets


def _middles() -> NDArray[np.float64]:
    """Return the middle of every bucket, in microseconds."""
    buckets = np.arange(BUCKETS, dtype=np.int64)
    shift = np.maximum(buckets // FINENESS - 1, 0)
    lowest = (buckets - FINENESS * shift) << shift
    middles: NDArray[np.float64] = lowest + (2.0**shift - 1) / 2
    return middles


MIDDLES = _middles()


def percentiles(counts: NDArray[np.integer], percents: tuple[int, ...]) -> list[float]:
    """Return percentiles in microseconds.

    Args:
        counts: [BUCKETS], not all 0.
        percents: percentages above 0, at most 100.
    """
    running = np.cumsum(counts)
    ranks = np.ceil(np.array(percents) * running[-1] / 100)
    found: list[float] = MIDDLES[np.searchsorted(running, ranks)].tolist()
    return found
