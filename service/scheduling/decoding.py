"""What waits to be decoded: bounded, and variants take turns, so that a hot one cannot hold up the others."""

import time
from collections import deque
from collections.abc import Callable, Hashable

from service.errors import QueueFullError
from service.scheduling.job import Job
from service.scheduling.rate import ServiceRate

Work = Callable[[], Job | None]
"""Decodes, and returns the job that can be run now, if there is one; must not raise."""


class DecodeQueue:
    """Queues of work, one for each owner; those that have work take turns. The caller holds the lock of Workers.

    Args:
        room: most pieces of work that may wait, of all owners.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._queues: dict[Hashable, deque[tuple[Work, float]]] = {}  # in the order of their turns; none is empty
        self._waiting = 0
        self._rate = ServiceRate()

    def __len__(self) -> int:
        """Pieces of work that no thread has taken."""
        return self._waiting

    def put(self, owner: Hashable, work: Work) -> None:
        """Queue work behind that of its owner; an owner that had none goes behind the others.

        Raises:
            QueueFullError: the room is full.
        """
        if self._waiting >= self._room:
            raise QueueFullError(
                f"{self._waiting} images wait to be decoded, {self._room} may; send it again later",
                self._rate.retry_after(self._waiting),
            )
        self._queues.setdefault(owner, deque()).append((work, time.monotonic()))
        self._waiting += 1

    def take(self) -> tuple[Work, float] | None:
        """Remove and return the work whose turn it is and when it was put, in seconds of time.monotonic."""
        if not self._queues:
            return None
        owner = next(iter(self._queues))
        queue = self._queues.pop(owner)
        item = queue.popleft()
        if queue:
            self._queues[owner] = queue  # behind the others
        self._waiting -= 1
        return item

    def done(self, put: float) -> None:
        """Measure how fast the queue moves: a piece of work that was put then is done."""
        self._rate.record(1, put, time.monotonic())
