"""The threads that decode and resize, and the room in front of them."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from service.errors import QueueFullError
from service.scheduling.rate import ServiceRate


class DecodePool:
    """Runs work in the order in which it came.

    Args:
        threads: how many.
        room: most pieces of work that may wait for a thread.
    """

    def __init__(self, threads: int, room: int) -> None:
        self._room = room
        self._work: SimpleQueue[tuple[Callable[[], None], float] | None] = SimpleQueue()
        self._rate = ServiceRate()
        self._rate_lock = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, name="decode", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Pieces of work that no thread has taken."""
        return self._work.qsize()

    def submit(self, work: Callable[[], None]) -> None:
        """Queue work, which must not raise.

        Raises:
            QueueFullError: the room is full.
        """
        waiting = self._work.qsize()
        if waiting >= self._room:
            raise QueueFullError(
                f"{waiting} images wait to be decoded, {self._room} may; send it again later",
                self._rate.retry_after(waiting),
            )
        self._work.put((work, time.monotonic()))

    def close(self) -> None:
        """Finish what was submitted, and end the threads."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, submitted = item
            work()
            with self._rate_lock:
                self._rate.record(1, submitted, time.monotonic())
