"""Prometheus metric families of the service; docs/operations.md lists them beside Triton's."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from artifact import VersionKey
from service.resources.abandoned import Kind
from service.telemetry.latency import BOUNDS, Distribution

_NAMES = ("model", "variant", "version")
_BATCH_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)
_DECODE_FAILURES = ("not-an-image", "too-many-pixels", "decode-timeout")


@dataclass(frozen=True)
class VersionState:
    """State of a version, and its counts since it was loaded."""

    key: VersionKey
    queued: int
    """Number of images between admission and dispatch."""
    running: int
    """Number of images in the current batch."""
    batches: Mapping[int, int]
    """Number of executed batches by size."""
    restarts: int
    down: bool
    load_seconds: float
    backend: str
    precision: str
    """Precision that the backend computes in."""


def stage_family(found: Mapping[VersionKey, Mapping[str, Distribution]]) -> Metric:
    """Return `posbake_stage_seconds`, with the same times as in responses."""
    family = HistogramMetricFamily(
        "posbake_stage_seconds", "Time of one stage of an answered classification.", labels=(*_NAMES, "stage")
    )
    for key, stages in found.items():
        for stage, distribution in stages.items():
            buckets = _cumulative(BOUNDS, distribution.counts)
            family.add_metric((*_labels(key), stage), buckets, distribution.seconds)
    return family


def request_families(
    requests: Mapping[tuple[VersionKey | None, int], int], refusals: Mapping[tuple[VersionKey | None, str], int]
) -> Iterator[Metric]:
    """Yield the counts of requests by status, of refusals by reason, and of images that could not be decoded."""
    by_status = CounterMetricFamily(
        "posbake_requests",
        "Classification requests by status of the response; labels are empty for requests refused before a version "
        "was found.",
        labels=(*_NAMES, "status"),
    )
    for (key, status), count in requests.items():
        by_status.add_metric((*_labels(key), str(status)), count)
    yield by_status
    by_reason = CounterMetricFamily(
        "posbake_rejections", "Rejected classification requests, by reason.", labels=(*_NAMES, "reason")
    )
    for (key, reason), count in refusals.items():
        by_reason.add_metric((*_labels(key), reason), count)
    yield by_reason
    failures = CounterMetricFamily(
        "posbake_decode_failures", "Images that could not be decoded, by reason.", labels=("reason",)
    )
    for reason in _DECODE_FAILURES:
        failures.add_metric((reason,), sum(count for (_, why), count in refusals.items() if why == reason))
    yield failures


def version_families(states: Iterable[VersionState]) -> Iterator[Metric]:
    """Yield the state of each version: its queue, its batches, its backend."""
    queued = GaugeMetricFamily("posbake_queue_images", "Images waiting for a version.", labels=_NAMES)
    running = GaugeMetricFamily("posbake_running_images", "Images being run.", labels=_NAMES)
    batches = HistogramMetricFamily("posbake_batch_images", "Images per executed batch.", labels=_NAMES)
    up = GaugeMetricFamily("posbake_backend_up", "0 while the backend is being restarted, else 1.", labels=_NAMES)
    restarts = CounterMetricFamily("posbake_backend_restarts", "Restarts of failed backends.", labels=_NAMES)
    loading = GaugeMetricFamily("posbake_model_load_seconds", "Time to verify, open and warm a version.", labels=_NAMES)
    about = GaugeMetricFamily(
        "posbake_backend_info",
        "Always 1; the labels are backend and precision of a version.",
        labels=(*_NAMES, "backend", "precision"),
    )
    for state in states:
        labels = _labels(state.key)
        about.add_metric((*labels, state.backend, state.precision), 1)
        queued.add_metric(labels, state.queued)
        running.add_metric(labels, state.running)
        batches.add_metric(labels, _batch_buckets(state.batches), sum(n * runs for n, runs in state.batches.items()))
        up.add_metric(labels, 0 if state.down else 1)
        restarts.add_metric(labels, state.restarts)
        loading.add_metric(labels, state.load_seconds)
    yield from (queued, running, batches, up, restarts, loading, about)


def decoding_family(images: int) -> Metric:
    """Return the length of the decode queue."""
    return GaugeMetricFamily("posbake_decode_queue_images", "Images waiting to be decoded.", images)


def abandoned_families(alive: Mapping[Kind, int], recorded: Mapping[Kind, int]) -> Iterator[Metric]:
    """Yield the number of threads that hang in abandoned work, and the count of abandoned work."""
    threads = GaugeMetricFamily(
        "posbake_abandoned_threads",
        "Threads with work that exceeded its time limit and has not returned.",
        labels=["work"],
    )
    total = CounterMetricFamily(
        "posbake_abandoned", "Decodes, runs and loads that were abandoned with their threads.", labels=["work"]
    )
    for kind, count in alive.items():
        threads.add_metric((kind,), count)
    for kind, count in recorded.items():
        total.add_metric((kind,), count)
    yield from (threads, total)


def load_family(loads: Mapping[str, int]) -> Metric:
    """Return the count of loads, by outcome."""
    family = CounterMetricFamily(
        "posbake_model_loads", "Artifacts that were loaded (success) or refused (failure).", labels=("outcome",)
    )
    for outcome, count in loads.items():
        family.add_metric((outcome,), count)
    return family


def _labels(key: VersionKey | None) -> tuple[str, str, str]:
    return (key.model, key.variant, str(key.version)) if key else ("", "", "")


def _cumulative(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Return Prometheus' cumulative buckets."""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


def _batch_buckets(batches: Mapping[int, int]) -> list[tuple[str, float]]:
    edges = (0, *_BATCH_BOUNDS, float("inf"))
    counts = [
        sum(runs for images, runs in batches.items() if below < images <= bound) for below, bound in pairwise(edges)
    ]
    return _cumulative(_BATCH_BOUNDS, counts)
