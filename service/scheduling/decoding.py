"""Bounded queue of images to decode, round-robin over variants, so that a busy variant does not delay others."""

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
        what: description for the log.
        work: runs on the thread, without the lock; may raise any exception.
        deliver: receives the result or exception of `work`, or of its abandonment; called once, with the lock held,
            and must not raise. Returns the job that can now run, if any.
    """

    what: object
    work: Callable[[], T]
    deliver: Callable[[T | BaseException], Job | None]

    def attempt(self) -> T | BaseException:
        """Return the result or the exception of `work`."""
        try:
            return self.work()
        except BaseException as error:  # noqa: BLE001 -- delivered
            return error


class DecodeQueue:
    """Queues of work, one per owner, served round-robin. The caller holds the lock of Workers.

    Args:
        room: capacity of all queues together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        # in round-robin order, without empty queues
        self._queues: dict[Hashable, deque[tuple[Decode[Any], float]]] = {}
        self._waiting = 0
        self._rate = ServiceRate()

    def __len__(self) -> int:
        """Return the number of waiting pieces of work."""
        return self._waiting

    def put(self, owner: Hashable, decode: Decode[Any]) -> None:
        """Append work to the queue of its owner; a new owner comes last in the order.

        Raises:
            QueueFullError: the queues are full.
        """
        if self._waiting >= self._room:
            raise QueueFullError(
                f"{self._waiting} images wait to be decoded, the limit is {self._room}; try again later",
                self._rate.retry_after(self._waiting),
            )
        self._queues.setdefault(owner, deque()).append((decode, time.monotonic()))
        self._waiting += 1

    def take(self) -> tuple[Decode[Any], float] | None:
        """Remove and return the next work, and the time when it was queued, in seconds of time.monotonic."""
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
        """Update the service rate after a piece of work queued at this time is done."""
        self._rate.record(1, put, time.monotonic())
