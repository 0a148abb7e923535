"""Whose batch is next: lanes with work take turns, one batch each, so that a hot one cannot starve the others."""

from collections import deque

from service.scheduling.job import Job
from service.scheduling.lane import Lane


class Turns:
    """Lanes in the order of their turns. The caller holds the lock.

    Args:
        delay: seconds that a batch waits for more images while it is not full; 0 dispatches what there is.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._lanes: deque[Lane] = deque()

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(len(lane.waiting) for lane in self._lanes)

    def add(self, job: Job, now: float) -> None:
        """Queue a job behind those of its lane; a lane that had none goes behind the other lanes."""
        job.enqueued = now
        lane = job.lane
        if lane not in self._lanes:
            self._lanes.append(lane)
        lane.waiting.append(job)

    def next(self, now: float) -> tuple[Lane | None, float | None]:
        """Return the lane whose turn it is, or how many seconds until one may be ready (None: until a job is added).

        A lane that is returned goes behind the others. One that has nothing left loses its turn.
        """
        soonest: float | None = None
        for _ in range(len(self._lanes)):
            lane = self._lanes.popleft()
            if not lane.waiting:
                continue
            self._lanes.append(lane)
            left = self._seconds_left(lane, now)
            if left <= 0:
                return lane, None
            soonest = left if soonest is None else min(soonest, left)
        return None, soonest

    def _seconds_left(self, lane: Lane, now: float) -> float:
        if not self._delay or sum(job.size for job in lane.waiting) >= lane.limit:
            return 0.0
        return lane.waiting[0].enqueued + self._delay - now
