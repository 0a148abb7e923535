"""How long answers took, since the start, for each variant and version.

Counts and means are over every answer; percentiles are over the last `window` answers of a version, so that memory is
bounded (480 kB a version with the default of 10,000).
"""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.telemetry.stopwatch import STAGES, TOTAL, Laps

WINDOW = 10_000
COLUMNS = (*STAGES, TOTAL)
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, order=True)
class Key:
    """One version of a variant of a model."""

    model: str
    variant: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}/{self.variant}/{self.version}"


@dataclass(frozen=True)
class StageSummary:
    """Of one stage, in ms."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Summary:
    """Of one version: how many answers, and their stages."""

    count: int
    stages: dict[str, StageSummary]


@dataclass
class _Record:
    recent: NDArray[np.int64]  # [window, columns], microseconds; a ring
    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(COLUMNS), np.int64))
    count: int = 0


class LatencyRecorder:
    """Remembers the laps of answers. Safe to use from several threads.

    Args:
        window: answers over which percentiles are taken.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._records: dict[Key, _Record] = {}
        self._lock = threading.Lock()

    def record(self, key: Key, laps: Laps) -> None:
        """Add one answer."""
        row = np.array([laps[column] for column in COLUMNS], np.int64)
        with self._lock:
            record = self._records.get(key)
            if record is None:
                record = self._records[key] = _Record(np.zeros((self._window, len(COLUMNS)), np.int64))
            record.recent[record.count % self._window] = row
            record.sums += row
            record.count += 1

    def summary(self, key: Key) -> Summary:
        """Return what is known of a version; without answers so far, `stages` is empty."""
        with self._lock:
            record = self._records.get(key)
            if record is None:
                return Summary(0, {})
            count, sums, recent = record.count, record.sums.copy(), record.recent[: record.count].copy()
        means = sums / count / 1000
        percentiles = np.percentile(recent, PERCENTILES, axis=0) / 1000  # [percentiles, columns]
        return Summary(
            count,
            {column: StageSummary(float(means[i]), *map(float, percentiles[:, i])) for i, column in enumerate(COLUMNS)},
        )
