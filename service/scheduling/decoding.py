"""Queue of images to be decoded: bounded, round-robin over variants, so that a busy one does not delay others."""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.problems.client_errors import QueueFullError
from service.scheduling.service_rate import ServiceRate
from service.scheduling.variant_queue import Job

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decode(Generic[T]):
    """Work for a decoding thread.

    Attributes:
        what: names it in the log.
        work: runs on the thread, without the lock; may raise anything.
        deliver: gets what `work` returned or raised, or why it was abandoned; called once, with the lock held, and must
            not raise. Returns the job that can be run now, if there is one.
    """

    what: object
    work: Callable[[], T]
    deliver: Callable[[T | BaseException], Job | None]

    def attempt(self) -> T | BaseException:
        """Return what `work` returns or raises."""
        try:
            return self.work()
        except BaseException as error:  # noqa: BLE001 -- delivered
            return error


class DecodeQueue:
    """Queues of work, one for each owner; those that have work take turns. The caller holds the lock of Workers.

    Args:
        room: most pieces of work that may wait, of all owners.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        # In the order of their turns; none is empty.
        self._queues: dict[Hashable, deque[tuple[Decode[Any], float]]] = {}
        self._waiting = 0
        self._rate = ServiceRate()

    def __len__(self) -> int:
        """Pieces of work that no thread has taken."""
        return self._waiting

    def put(self, owner: Hashable, decode: Decode[Any]) -> None:
        """Queue work behind that of its owner; an owner that had none goes behind the others.

        Raises:
            QueueFullError: the room is full.
        """
        if self._waiting >= self._room:
            raise QueueFullError(
                f"{self._waiting} images wait to be decoded, {self._room} may; send it again later",
                self._rate.retry_after(self._waiting),
            )
        self._queues.setdefault(owner, deque()).append((decode, time.monotonic()))
        self._waiting += 1

    def take(self) -> tuple[Decode[Any], float] | None:
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
