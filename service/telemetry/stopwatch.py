"""The time of one request, cut into stages.

All stages are laps of one monotonic clock that is read in whole microseconds, so they add up to the total exactly,
and nothing between the first reading and the last is left out.
"""

import time
from collections.abc import Callable

STAGES = ("decode", "preprocess", "queue", "inference", "postprocess")
TOTAL = "total"

Laps = dict[str, int]
"""Microseconds by stage, and `total`."""


class Stopwatch:
    """Starts when it is made.

    Args:
        clock: monotonic nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._start = self._last = clock() // 1000
        self._laps = dict.fromkeys(STAGES, 0)

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`, one of STAGES."""
        now = self._clock() // 1000
        self._laps[stage] += now - self._last
        self._last = now

    def laps(self) -> Laps:
        """Return every stage and their total, in microseconds."""
        return {**self._laps, TOTAL: self._last - self._start}


def milliseconds(laps: Laps) -> dict[str, float]:
    """Return the same in ms, to the microsecond."""
    return {stage: microseconds / 1000 for stage, microseconds in laps.items()}


def server_timing(laps: Laps) -> str:
    """Return the value of a `Server-Timing` header (W3C), in ms."""
    return ", ".join(f"{stage};dur={duration}" for stage, duration in milliseconds(laps).items())
