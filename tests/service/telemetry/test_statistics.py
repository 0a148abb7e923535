"""Triton's statistics, compared with sums over the batches."""

import pytest

from artifact import VersionKey
from service.telemetry.statistics import Statistics
from service.telemetry.stopwatch import STAGES, TOTAL, Laps

KEY = VersionKey("colours", "mean", 1)
OTHER = VersionKey("colours", "mean", 2)


def laps(inference: int, other: int = 10) -> Laps:
    """Return laps with `inference` µs for the network and `other` µs for each other stage."""
    found = {stage: inference if stage == "inference" else other for stage in STAGES}
    return {**found, TOTAL: sum(found.values())}


def test_a_batch_shared_by_several_requests_is_counted_once() -> None:
    batches = [([1, 2, 1], 600), ([4], 500), ([1], 100), ([1, 3], 400)]  # images per request, µs of inference
    statistics = Statistics()
    for requests, inference in batches:
        for images in requests:
            statistics.succeeded(KEY, laps(inference), images, sum(requests))
    counts = statistics.counts(KEY)
    assert counts.images == 13
    assert counts.executions == pytest.approx(len(batches))
    assert counts.success.count == sum(len(requests) for requests, _ in batches)
    assert counts.compute_infer.microseconds == sum(len(requests) * inference for requests, inference in batches)
    for size in (1, 4):
        same = [inference for requests, inference in batches if sum(requests) == size]
        assert counts.batches[size].compute_infer.count == pytest.approx(len(same))
        assert counts.batches[size].compute_infer.microseconds == pytest.approx(sum(same))


def test_stages_are_mapped_to_tritons() -> None:
    statistics = Statistics()
    statistics.succeeded(KEY, laps(600, other=10), 1, 1)
    counts = statistics.counts(KEY)
    assert counts.compute_input.microseconds == 20  # decode and preprocess
    assert counts.queue.microseconds == counts.compute_output.microseconds == 10
    assert counts.success.microseconds == 640


def test_failures_are_counted_separately() -> None:
    statistics = Statistics()
    statistics.failed(KEY, 50)
    statistics.failed(KEY, 70)
    counts = statistics.counts(KEY)
    assert (counts.fail.count, counts.fail.microseconds, counts.success.count) == (2, 120, 0)


def test_versions_are_counted_separately_and_dropped_when_removed() -> None:
    statistics = Statistics()
    statistics.failed(KEY, 50)
    statistics.failed(OTHER, 50)
    statistics.keep_only([OTHER])
    assert (statistics.counts(KEY).fail.count, statistics.counts(OTHER).fail.count) == (0, 1)
