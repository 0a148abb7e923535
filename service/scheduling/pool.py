"""Pool of worker threads: duties, and replacement of threads with abandoned work.

An abandoned thread may keep a core busy. With as many abandoned threads as cores (at least 2), about half of the
throughput is lost, and the service is not ready. Up to four times as many are replaced, which limits their memory.
Processes could be killed instead; benchmarks/decoding.py measures their cost.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import Enum

from service.problems.server_errors import NotReadyError
from service.resources.abandoned import ABANDONED
from service.scheduling.supervision import AbandonedError, Watch, Watchdog, WorkerState

logger = logging.getLogger(__name__)

_TOLERATED, _REPLACED = 2, 4


class Duty(Enum):
    """Kind of work of a thread."""

    DECODE = "decode"
    RUN = "run"


Duties = tuple[Duty, ...]
"""Duties, least recently served first."""

Find = Callable[[WorkerState, Duties], tuple[Duty, Callable[[], None]] | None]
"""Waits for work and returns it with its duty, or None to end the thread; called with the lock held."""


class WorkerPool:
    """Worker threads; each runs work until `find` returns None.

    Args:
        lock: lock of their states.
        cores: number of cores that the threads share.
        find: returns the next work, which raises AbandonedError if it was abandoned before it returned.
        interval: seconds between two checks for work that exceeds its time limit.
    """

    def __init__(self, lock: threading.RLock, cores: int, find: Find, interval: float) -> None:
        self._lock = lock
        self._find = find
        self._tolerated = max(_TOLERATED, cores)
        self._threads: dict[WorkerState, tuple[threading.Thread, Duties]] = {}
        self._hanging = 0
        self._unreplaced: list[Duties] = []
        self._closing = False
        self._watchdog = Watchdog(lock, interval, self.states, self._replace)

    @property
    def states(self) -> Collection[WorkerState]:
        """States of all threads except abandoned ones."""
        return self._threads.keys()

    def start(self, duties: Duties) -> None:
        """Start a thread. The caller holds the lock.

        Raises:
            RuntimeError: the system does not allow another thread.
        """
        state = WorkerState()
        name = "+".join(duty.value for duty in duties)
        thread = threading.Thread(target=self._work, args=(state, duties), name=name, daemon=True)
        thread.start()  # it waits for the lock
        self._threads[state] = thread, duties

    def check(self) -> None:
        """Raise NotReadyError if no thread is left for a duty. The caller holds the lock."""
        self._restore()
        if self._unreplaced and (idle := self._without_threads()) is not None:
            raise NotReadyError(idle)

    def shortage(self) -> str | None:
        """Return the reason why too few threads are left to be ready; None if there are enough."""
        with self._lock:
            idle = self._without_threads()
        abandoned = len(ABANDONED)
        if idle is not None or abandoned < self._tolerated:
            return idle
        return (
            f"{abandoned} threads hang in abandoned work, and may use cores; the log names the work; restart the server"
        )

    def close(self, seconds: float) -> None:
        """Wait for the threads to end, once `find` returns None. A thread that does not end is abandoned."""
        with self._lock:
            self._closing = True
            threads = [(thread, state) for state, (thread, _) in self._threads.items()]
        self._watchdog.close()
        end = time.monotonic() + seconds
        for thread, state in threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                ABANDONED.record(thread, "run" if state.watch is None else state.watch.kind)

    def _work(self, state: WorkerState, duties: Duties) -> None:
        while True:
            with self._lock:
                state.busy = False
                found = self._find(state, duties)
                state.busy = True
            if found is None:
                return
            duty, do = found
            duties = (*(other for other in duties if other is not duty), duty)
            try:
                do()
            except AbandonedError:
                self._end_abandoned(state)
                return

    def _replace(self, state: WorkerState, watch: Watch) -> None:
        thread, duties = self._threads.pop(state)
        ABANDONED.record(thread, watch.kind)
        self._hanging += 1
        self._unreplaced.append(duties)
        self._restore()
        if self._unreplaced:
            logger.error(
                "%d abandoned threads are not replaced: too many, or the system's limit", len(self._unreplaced)
            )

    def _end_abandoned(self, state: WorkerState) -> None:
        if state.cleanup is not None:
            state.cleanup()
        with self._lock:
            self._hanging -= 1
            self._restore()

    def _restore(self) -> None:
        """Replace an abandoned thread that is not yet replaced, if there are not too many and the system allows it."""
        replaced = self._hanging - len(self._unreplaced)
        if self._unreplaced and replaced < _REPLACED * self._tolerated and not self._closing:
            with suppress(RuntimeError):  # tried again at the next request
                self.start(self._unreplaced[-1])
                self._unreplaced.pop()

    def _without_threads(self) -> str | None:
        left = {duty for _, duties in self._threads.values() for duty in duties}
        for duty in Duty:
            if duty not in left:
                return (
                    f"no thread is left to {duty.value} images: {self._hanging} hang in abandoned work; the "
                    "log names the work; restart the server"
                )
        return None
