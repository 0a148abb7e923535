"""Bucketed durations compared with sorted ones."""

import math

import numpy as np
import pytest

from service.telemetry.buckets import BUCKETS, MIDDLES, bucket_of, percentiles

DURATIONS = np.unique(
    np.concatenate([np.arange(5000), *(2**k + np.array([-1, 0, 1]) for k in range(1, 37)), [2**37 - 1]])
).astype(np.int64)
WITHIN = 1 / 64  # half the width of a bucket over its lower edge


def test_a_buckets_middle_is_within_the_tolerance_of_its_durations() -> None:
    middles = MIDDLES[bucket_of(DURATIONS)]
    assert np.all(np.abs(middles - DURATIONS) <= WITHIN * DURATIONS)
    assert not np.all(np.abs(middles - DURATIONS) <= WITHIN / 1.5 * DURATIONS)  # the check can fail


def test_below_64_microseconds_each_microsecond_is_a_bucket() -> None:
    assert MIDDLES[bucket_of(np.arange(64))].tolist() == list(range(64))


def test_longer_durations_are_in_later_buckets_and_all_buckets_are_used() -> None:
    buckets = bucket_of(DURATIONS)
    assert np.all(np.diff(buckets) >= 0)
    assert (buckets[0], buckets[-1]) == (0, BUCKETS - 1)
    assert np.all(np.diff(MIDDLES) > 0)


def test_durations_longer_than_any_deadline_are_in_the_last_bucket() -> None:
    assert bucket_of(np.array([2**37, 2**60])).tolist() == [BUCKETS - 1, BUCKETS - 1]


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100, 1000])
def test_percentiles_are_those_of_the_sorted_durations(count: int) -> None:
    durations = np.random.default_rng(count).lognormal(8, 2, count).astype(np.int64)
    counts = np.bincount(bucket_of(durations), minlength=BUCKETS)
    ranked = sorted(durations.tolist())
    expected = [ranked[math.ceil(percent / 100 * count) - 1] for percent in (50, 90, 95, 99, 100)]
    assert percentiles(counts, (50, 90, 95, 99, 100)) == pytest.approx(expected, rel=WITHIN)
