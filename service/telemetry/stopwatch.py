"""Stage times of one request.

All stages are laps of a monotonic clock in integer microseconds, so they add up to the total exactly.
"""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Self

STAGES = ("decode", "preprocess", "queue", "inference", "postprocess")
TOTAL = "total"

Laps = dict[str, int]
"""Microseconds by stage, and `total`."""


class Stopwatch:
    """Stopwatch that starts at creation.

    Args:
        clock: monotonic nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self.start = clock() // 1000
        """Start time in microseconds of its clock."""
        self._ends: list[tuple[str, int]] = []

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`, one of STAGES."""
        self._ends.append((stage, self._clock() // 1000))

    def fork(self) -> Self:
        """Return a copy with the same start and laps, for one of several runs."""
        other = copy.copy(self)
        other._ends = self._ends.copy()
        return other

    def timeline(self) -> list[tuple[str, int, int]]:
        """Return the laps in order: stage, start, end, in microseconds of its clock."""
        starts = [self.start, *(end for _, end in self._ends)]
        return [(stage, start, end) for start, (stage, end) in zip(starts, self._ends, strict=False)]

    def laps(self) -> Laps:
        """Return every stage and their total, in microseconds."""
        laps = dict.fromkeys(STAGES, 0)
        last = self.start
        for stage, end in self._ends:
            laps[stage] += end - last
            last = end
        laps[TOTAL] = last - self.start
        return laps

    def elapsed(self) -> int:
        """Return the time since the start in microseconds."""
        return self._clock() // 1000 - self.start


def milliseconds(laps: Laps) -> dict[str, float]:
    """Convert laps to ms, with a resolution of 1 µs."""
    return {stage: microseconds / 1000 for stage, microseconds in laps.items()}


def server_timing(times: Mapping[str, float]) -> str:
    """Return the value of a `Server-Timing` header (W3C) from times in ms."""
    return ", ".join([f"{stage};dur={duration}" for stage, duration in times.items()])
