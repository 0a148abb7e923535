"""Latency of responses by version: over the last minute, and since the start.

Recording is cheap: laps are appended to a buffer, and a full buffer is counted by NumPy.
Memory is bounded: 450 kB for each version.

Shapes: S columns, the stages and their total; R periods of SLOT_SECONDS; B buckets of `service.telemetry.buckets`.
"""

import threading
import time
from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from artifact import VersionKey
from service.telemetry.buckets import BUCKETS, bucket_of, percentiles
from service.telemetry.stopwatch import STAGES, TOTAL, Laps

COLUMNS = (*STAGES, TOTAL)
PERCENTILES = (50, 90, 95, 99)

RECENT_SECONDS = 60
SLOT_SECONDS = 5
_SLOTS = RECENT_SECONDS // SLOT_SECONDS + 1  # the current one, and those of the whole minute before

BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of Prometheus' buckets, in seconds; each includes its bound."""
_BOUNDS_US = np.array([round(bound * 1e6) for bound in BOUNDS], np.int64)

_FULL = 256 * (1 + len(COLUMNS))


@dataclass(frozen=True)
class StageSummary:
    """Latency of one stage, in ms."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True)
class LatencySummary:
    """Number of responses of a version, and their stages."""

    count: int
    stages: dict[str, StageSummary]


@dataclass(frozen=True)
class LatencyCounts:
    """Counts of responses by bucket, int64 [S, B], and the sum of their times in µs, int64 [S]."""

    counts: NDArray[np.int64]
    sums: NDArray[np.int64]

    def __add__(self, other: Self) -> "LatencyCounts":
        return LatencyCounts(self.counts + other.counts, self.sums + other.sums)

    def summary(self) -> LatencySummary:
        """Return count, means and percentiles; without responses, `stages` is empty."""
        count = int(self.counts[0].sum())
        stages = {}
        for i, column in enumerate(COLUMNS if count else ()):
            mean = float(self.sums[i]) / count / 1000
            stages[column] = StageSummary(mean, *(found / 1000 for found in percentiles(self.counts[i], PERCENTILES)))
        return LatencySummary(count, stages)


NO_ANSWERS = LatencyCounts(np.zeros((len(COLUMNS), BUCKETS), np.int64), np.zeros(len(COLUMNS), np.int64))


@dataclass(frozen=True)
class Distribution:
    """Distribution of a stage since the start, for Prometheus."""

    counts: list[int]
    """Number of responses in each bucket of BOUNDS, and above the last bound; not cumulative."""
    seconds: float
    """Sum of the times in s."""


class LatencyRecorder:
    """Recorder of the laps of responses. Thread-safe.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[VersionKey, _Record] = {}
        self._lock = threading.Lock()

    def record(self, key: VersionKey, laps: Laps) -> None:
        """Record a response."""
        with self._lock:
            self._record_of(key).add(int(self._clock()) // SLOT_SECONDS, laps)

    def record_overdue(self, key: VersionKey, microseconds: int) -> None:
        """Record a request that missed its deadline after this time; only `recent_p95` counts it."""
        with self._lock:
            self._record_of(key).add_overdue(int(self._clock()) // SLOT_SECONDS, microseconds)

    def counts(self, key: VersionKey) -> LatencyCounts:
        """Return the counts of a version since the start."""
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return NO_ANSWERS
            record.count_pending()
            return LatencyCounts(record.counts.copy(), record.sums.copy())

    def recent_counts(self, key: VersionKey) -> LatencyCounts:
        """Return the counts of a version over the last RECENT_SECONDS, with a resolution of SLOT_SECONDS."""
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return NO_ANSWERS
            record.count_pending()
            slots = record.recent_slots(int(self._clock()) // SLOT_SECONDS)
            return LatencyCounts(
                record.slot_counts[slots].sum(axis=0, dtype=np.int64), record.slot_sums[slots].sum(axis=0)
            )

    def summary(self, key: VersionKey) -> LatencySummary:
        """Return the latency of a version since the start."""
        return self.counts(key).summary()

    def recent(self, key: VersionKey) -> LatencySummary:
        """Return the latency of a version over the last RECENT_SECONDS, with a resolution of SLOT_SECONDS."""
        return self.recent_counts(key).summary()

    def versions(self) -> list[VersionKey]:
        """Return the versions with responses."""
        with self._lock:
            return list(self._records)

    def recent_p95(self, key: VersionKey) -> float | None:
        """Return the p95 of the total over the last RECENT_SECONDS in ms; None without measurements.

        A request that missed its deadline counts with the time it waited. Otherwise a variant that is always too slow
        would look like one without requests.
        """
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return None
            record.count_pending()
            slots = record.recent_slots(int(self._clock()) // SLOT_SECONDS)
            counts = (record.slot_counts[slots, -1] + record.slot_overdue[slots]).sum(axis=0, dtype=np.int64)
        return percentiles(counts, (95,))[0] / 1000 if counts.any() else None

    def distributions(self) -> dict[VersionKey, dict[str, Distribution]]:
        """Return every version's stages since the start."""
        with self._lock:
            for record in self._records.values():
                record.count_pending()
            found = {key: (record.by_bound.copy(), record.sums.copy()) for key, record in self._records.items()}
        return {
            key: {column: Distribution(by_bound[i].tolist(), float(sums[i]) / 1e6) for i, column in enumerate(COLUMNS)}
            for key, (by_bound, sums) in found.items()
        }

    def keep_only(self, keys: Collection[VersionKey]) -> None:
        """Drop every other version."""
        with self._lock:
            self._records = {key: record for key, record in self._records.items() if key in keys}

    def _record_of(self, key: VersionKey) -> "_Record":
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record()
        return record


class _Record:
    """Counts of a version. The caller holds the lock."""

    def __init__(self) -> None:
        self.counts = np.zeros((len(COLUMNS), BUCKETS), np.int64)
        self.sums = np.zeros(len(COLUMNS), np.int64)  # microseconds
        self.by_bound = np.zeros((len(COLUMNS), len(BOUNDS) + 1), np.int64)
        self.slot_counts = np.zeros((_SLOTS, len(COLUMNS), BUCKETS), np.uint32)
        self.slot_sums = np.zeros((_SLOTS, len(COLUMNS)), np.int64)
        self.slot_overdue = np.zeros((_SLOTS, BUCKETS), np.uint32)
        self._slots = np.full(_SLOTS, -1, np.int64)  # period in each slot
        self._pending = array("q")  # pairs of period and column

    def add(self, slot: int, laps: Laps) -> None:
        self._pending.append(slot)
        self._pending.extend([laps[column] for column in COLUMNS])
        if len(self._pending) >= _FULL:
            self.count_pending()

    def add_overdue(self, slot: int, microseconds: int) -> None:
        self.count_pending()
        self.slot_overdue[self._open(slot), bucket_of(np.array(microseconds, np.int64))] += 1

    def count_pending(self) -> None:
        if not self._pending:
            return
        rows = np.frombuffer(self._pending, np.int64).reshape(-1, 1 + len(COLUMNS))
        for slot in np.unique(rows[:, 0]).tolist():
            self._count(self._open(slot), rows[rows[:, 0] == slot, 1:])
        self._pending = array("q")

    def recent_slots(self, slot: int) -> NDArray[np.bool_]:
        """Return the mask of recent periods."""
        return self._slots > slot - _SLOTS

    def _count(self, place: int, rows: NDArray[np.int64]) -> None:
        """Add rows [responses, S] to a period and to the total."""
        counts = _count_by_column(bucket_of(rows), BUCKETS)
        sums = rows.sum(axis=0)
        self.counts += counts
        self.sums += sums
        self.by_bound += _count_by_column(np.searchsorted(_BOUNDS_US, rows), len(BOUNDS) + 1)
        self.slot_counts[place] += counts.astype(np.uint32)
        self.slot_sums[place] += sums

    def _open(self, slot: int) -> int:
        """Return the slot of a period, after clearing the period of a minute ago."""
        place = slot % _SLOTS
        if self._slots[place] != slot:
            self._slots[place] = slot
            self.slot_counts[place] = 0
            self.slot_sums[place] = 0
            self.slot_overdue[place] = 0
        return place


def _count_by_column(places: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return [S, width]: the count of each place in each column of `places`, [responses, S]."""
    columns = places.shape[1]
    flat = places + width * np.arange(columns)
    counts: NDArray[np.int64] = np.bincount(flat.ravel(), minlength=columns * width).reshape(columns, width)
    return counts
