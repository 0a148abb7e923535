"""Counts of Triton's statistics extension by version, since the start.

A request with n images in a batch of b counts as the share n/b of that batch. The shares of a batch add up to 1, so
batches and their time are counted from requests only.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Self

from artifact import VersionKey
from service.telemetry.stopwatch import TOTAL, Laps

_FULL = 256
"""Number of responses that are counted at once, which takes 1 ms."""


@dataclass
class Duration:
    """Count and total time in µs. Both are integers when no batch is partly counted."""

    count: float = 0
    microseconds: float = 0

    def add(self, microseconds: float, count: float = 1) -> None:
        """Add to both."""
        self.count += count
        self.microseconds += microseconds

    def __iadd__(self, other: Self) -> Self:
        self.add(other.microseconds, other.count)
        return self


@dataclass
class Batches:
    """Batches of one size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def __iadd__(self, other: Self) -> Self:
        self.compute_input += other.compute_input
        self.compute_infer += other.compute_infer
        self.compute_output += other.compute_output
        return self


@dataclass
class Counts:
    """Counts of one version."""

    last_inference_ms: int = 0
    """Time of the last response, in ms since 1970; 0 if there was none."""
    images: int = 0
    executions: float = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, Batches] = field(default_factory=dict)
    """Counts by batch size."""
    pending: list[tuple[Laps, int, int]] = field(default_factory=list)
    """Responses not counted yet: laps, number of images, batch size."""

    def count_pending(self) -> None:
        """Count the responses in `pending`."""
        for laps, images, batch_size in self.pending:
            share = images / batch_size
            prepared = laps["decode"] + laps["preprocess"]
            self.images += images
            self.executions += share
            self.success.add(laps[TOTAL])
            self.queue.add(laps["queue"])
            self.compute_input.add(prepared)
            self.compute_infer.add(laps["inference"])
            self.compute_output.add(laps["postprocess"])
            batch = self.batches.setdefault(batch_size, Batches())
            batch.compute_input.add(prepared, share)
            batch.compute_infer.add(share * laps["inference"], share)
            batch.compute_output.add(laps["postprocess"], share)
        self.pending.clear()

    def __iadd__(self, other: Self) -> Self:
        self.last_inference_ms = max(self.last_inference_ms, other.last_inference_ms)
        self.images += other.images
        self.executions += other.executions
        self.success += other.success
        self.fail += other.fail
        self.queue += other.queue
        self.compute_input += other.compute_input
        self.compute_infer += other.compute_infer
        self.compute_output += other.compute_output
        for size, batches in other.batches.items():
            self.batches.setdefault(size, Batches())
            self.batches[size] += batches
        return self


def total(parts: Iterable[Counts]) -> Counts:
    """Return the combined counts of several processes."""
    result = Counts()
    for part in parts:
        result += part
    return result


class Statistics:
    """Counts of all versions. Used on the event loop only."""

    def __init__(self) -> None:
        self._counts: dict[VersionKey, Counts] = {}

    def succeeded(self, key: VersionKey, laps: Laps, images: int, batch_size: int) -> None:
        """Record a successful request.

        Args:
            key: the version.
            laps: its stage times.
            images: n.
            batch_size: b.
        """
        counts = self._counts_of(key)
        counts.last_inference_ms = time.time_ns() // 1_000_000
        counts.pending.append((laps, images, batch_size))
        if len(counts.pending) >= _FULL:
            counts.count_pending()

    def failed(self, key: VersionKey, microseconds: int) -> None:
        """Record a request that failed after this time."""
        self._counts_of(key).fail.add(microseconds)

    def counts(self, key: VersionKey) -> Counts:
        """Return the counts of a version."""
        counts = self._counts.get(key, Counts())
        counts.count_pending()
        return counts

    def copy(self) -> dict[VersionKey, Counts]:
        """Return a copy of the counts of every version."""
        return {key: total([self.counts(key)]) for key in self._counts}

    def keep_only(self, keys: Collection[VersionKey]) -> None:
        """Drop all other versions, which are no longer served."""
        self._counts = {key: counts for key, counts in self._counts.items() if key in keys}

    def _counts_of(self, key: VersionKey) -> Counts:
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = Counts()
        return counts
