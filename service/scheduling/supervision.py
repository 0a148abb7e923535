"""Supervision of worker threads: work that exceeds its time limit is abandoned, and its thread is replaced.

Python cannot stop a thread. An abandoned thread ends when its work returns, if ever.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from service.resources.abandoned import Kind

logger = logging.getLogger(__name__)

Cleanup = Callable[[], None]


class AbandonedError(Exception):
    """The work of this thread was abandoned before it returned: its requests are answered, and the thread must end."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Work with a time limit.

    Attributes:
        kind: kind of work, for metrics.
        what: description for the log.
        limit: time limit in seconds.
        abandon: answers its requests; called with the lock held. Returns a function that the thread calls if its work
            returns later.
        since: start of the work, in seconds of time.monotonic.
    """

    kind: Kind
    what: object
    limit: float
    abandon: Callable[[], Cleanup | None]
    since: float

    def is_late(self, now: float) -> bool:
        """Return whether the limit is exceeded."""
        return now - self.since >= self.limit


@dataclass(eq=False)
class WorkerState:
    """State of one worker thread, guarded by the lock of Workers."""

    busy: bool = False
    """True if the thread is working."""
    watch: Watch | None = None
    """Current work, if it has a time limit."""
    abandoned: bool = False
    cleanup: Cleanup | None = None
    """Called by an abandoned thread when its work returns."""

    def finish(self) -> None:
        """End the watch of the calling thread's work. The caller holds the lock.

        Raises:
            AbandonedError: the work was abandoned meanwhile.
        """
        if self.abandoned:
            raise AbandonedError
        self.watch = None


class Watchdog:
    """Thread that abandons work that exceeds its limit.

    Args:
        lock: lock of the states.
        interval: seconds between two checks.
        states: states of the threads; a live view.
        replace: replaces the thread of abandoned work; called with the lock held.
    """

    def __init__(
        self,
        lock: threading.RLock,
        interval: float,
        states: Collection[WorkerState],
        replace: Callable[[WorkerState, Watch], None],
    ) -> None:
        self._lock = lock
        self._interval = interval
        self._states = states
        self._replace = replace
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_repeatedly, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._thread.join()

    def _look_repeatedly(self) -> None:
        while not self._closing.wait(self._interval):
            for watch in self._abandon_what_is_late():
                logger.error(
                    "abandoned after %.1f s: the %s of %s; its thread continues until the work returns, if ever",
                    watch.limit,
                    watch.kind,
                    watch.what,
                )

    def _abandon_what_is_late(self) -> list[Watch]:
        late: list[Watch] = []
        with self._lock:
            now = time.monotonic()
            for state in list(self._states):
                if (watch := state.watch) is not None and watch.is_late(now):
                    state.abandoned = True
                    state.cleanup = watch.abandon()
                    self._replace(state, watch)
                    late.append(watch)
        return late
