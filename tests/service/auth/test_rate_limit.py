"""Token buckets, beside a count of what was let through in every window."""

import math
import random

import pytest

from service.auth.rate_limit import RateLimit, RateLimiter

A, B = b"a", b"b"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_one_each_so_often() -> None:
    clock = Clock()
    limits = RateLimiter(RateLimit(2, 3), clock)
    assert [limits.take(A, None) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limits.take(A, None) == 0.5  # what was refused cost nothing
    clock.now = 0.5
    assert limits.take(A, None) == 0
    assert limits.take(A, None) > 0
    clock.now = 1000  # a long pause saves up no more than the burst
    assert [limits.take(A, None) == 0 for _ in range(4)] == [True, True, True, False]


def test_no_window_of_any_length_lets_more_through_than_the_limit() -> None:
    clock, chance = Clock(), random.Random(0)
    limits, passed = RateLimiter(RateLimit(5, 4), clock), []
    for _ in range(2000):
        clock.now += chance.expovariate(12)
        if limits.take(A, None) == 0:
            passed.append(clock.now)
    for first in range(0, len(passed), 7):
        for last in range(first, len(passed), 13):
            assert last - first + 1 <= 4 + 5 * (passed[last] - passed[first]) + 1e-6
    assert len(passed) > 0.9 * 5 * clock.now  # and it lets through what it may


def test_keys_do_not_share_a_bucket_and_their_own_limit_goes_first() -> None:
    clock = Clock()
    limits = RateLimiter(RateLimit(1, 1), clock)
    assert limits.take(A, None) == limits.take(B, RateLimit(1, 2)) == limits.take(B, RateLimit(1, 2)) == 0
    assert limits.take(A, None) == limits.take(B, RateLimit(1, 2)) == 1
    assert limits.take(A, RateLimit(1, 5)) == 0  # a limit that was changed begins anew
    assert {limits.take(A, RateLimit.unlimited()) for _ in range(100)} == {0}


def test_without_a_limit_nothing_is_refused() -> None:
    limits = RateLimiter(None)
    assert {limits.take(A, None) for _ in range(100)} == {0}


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, None), (math.inf, None), (math.nan, None), (1, 0)])
def test_a_limit_that_lets_nothing_through_is_refused(rate: float, burst: int | None) -> None:
    with pytest.raises(ValueError, match=r"rate must be above 0|burst must be at least 1"):
        RateLimit.of(rate, burst)
