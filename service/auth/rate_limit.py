"""Rate limits of API keys: one token bucket per key.

A bucket starts with `burst` tokens, its maximum, gains `per_second` tokens per second, and loses one for each request.
Without a token the request is refused, at no cost.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class RateLimit:
    """Rate in requests per second, and the burst allowed after a pause."""

    per_second: float
    burst: int

    @classmethod
    def of(cls, per_second: float, burst: int | None = None) -> Self:
        """Return a limit; the default burst is the requests of one second, at least 1.

        Raises:
            ValueError: a number is not above 0, or the rate is not finite.
        """
        if not (math.isfinite(per_second) and per_second > 0):
            raise ValueError(f"a rate must be above 0, got {per_second:g}")
        burst = math.ceil(per_second) if burst is None else burst
        if burst < 1:
            raise ValueError(f"a burst must be at least 1 request, got {burst}")
        return cls(per_second, burst)

    @classmethod
    def unlimited(cls) -> Self:
        """Return a limit that never refuses."""
        return cls(math.inf, 1)


@dataclass
class _Bucket:
    limit: RateLimit
    filled_at: float  # s
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.limit.burst


class RateLimiter:
    """Token buckets of all keys. Used on the event loop only.

    Args:
        default: the limit of keys without their own; None for no limit.
        clock: monotonic time in s.
    """

    def __init__(self, default: RateLimit | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._default = default
        self._clock = clock
        self._buckets: dict[bytes, _Bucket] = {}  # one for each key so far

    def take(self, identity: bytes, own: RateLimit | None) -> float:
        """Take a token and return 0; if there is none, return the seconds until the next one.

        Args:
            identity: identity of the bucket.
            own: the limit instead of the default; after a change the bucket is full.
        """
        limit = own if own is not None else self._default
        if limit is None or math.isinf(limit.per_second):
            return 0.0
        now = self._clock()
        bucket = self._buckets.get(identity)
        if bucket is None or bucket.limit != limit:
            bucket = self._buckets[identity] = _Bucket(limit, now)
        bucket.tokens = min(limit.burst, bucket.tokens + (now - bucket.filled_at) * limit.per_second)
        bucket.filled_at = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / limit.per_second
        bucket.tokens -= 1
        return 0.0
