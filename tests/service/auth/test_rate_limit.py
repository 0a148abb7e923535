"""Token buckets, checked by the number of requests allowed in every window."""

import math
import random

import pytest

from service.auth.rate_limit import RateLimit, RateLimiter

A, B = b"a", b"b"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_one_request_per_interval() -> None:
    clock = Clock()
    limits = RateLimiter(RateLimit(2, 3), clock)
    assert [limits.take(A, None) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limits.take(A, None) == 0.5  # a refused request takes no token
    clock.now = 0.5
    assert limits.take(A, None) == 0
    assert limits.take(A, None) > 0
    clock.now = 1000  # a long pause accumulates no more than the burst
    assert [limits.take(A, None) == 0 for _ in range(4)] == [True, True, True, False]


def test_no_window_of_any_length_has_more_requests_than_the_limit() -> None:
    clock, chance = Clock(), random.Random(0)
    limits, passed = RateLimiter(RateLimit(5, 4), clock), []
    for _ in range(2000):
        clock.now += chance.expovariate(12)
        if limits.take(A, None) == 0:
            passed.append(clock.now)
    for first in range(0, len(passed), 7):
        for last in range(first, len(passed), 13):
            assert last - first + 1 <= 4 + 5 * (passed[last] - passed[first]) + 1e-6
    assert len(passed) > 0.9 * 5 * clock.now  # and the allowed rate is nearly used


def test_each_key_has_its_own_bucket_and_its_own_limit_overrides_the_default() -> None:
    clock = Clock()
    limits = RateLimiter(RateLimit(1, 1), clock)
    assert limits.take(A, None) == limits.take(B, RateLimit(1, 2)) == limits.take(B, RateLimit(1, 2)) == 0
    assert limits.take(A, None) == limits.take(B, RateLimit(1, 2)) == 1
    assert limits.take(A, RateLimit(1, 5)) == 0  # a changed limit starts with a full bucket
    assert {limits.take(A, RateLimit.unlimited()) for _ in range(100)} == {0}


def test_without_a_limit_nothing_is_refused() -> None:
    limits = RateLimiter(None)
    assert {limits.take(A, None) for _ in range(100)} == {0}


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, None), (math.inf, None), (math.nan, None), (1, 0)])
def test_an_invalid_limit_is_refused(rate: float, burst: int | None) -> None:
    with pytest.raises(ValueError, match=r"rate must be above 0|burst must be at least 1"):
        RateLimit.of(rate, burst)
