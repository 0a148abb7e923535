"""Runs of backends under supervision: one that hangs is given up, and so is the thread that waits for it."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.backends.base import Backend
from service.inputs.preprocess import Tensor
from service.scheduling.batching import AbandonedError
from service.scheduling.job import Job
from service.scheduling.lane import Lane

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Seat:
    """What a thread of Workers does at the moment."""

    busy: bool = False
    """It does something, and does not wait for work."""
    lane: Lane | None = None
    jobs: Sequence[Job] = ()
    backend: Backend | None = None
    since: float | None = None
    """When the backend was called, in seconds of time.monotonic; None while it is not running."""
    lost: bool = False
    """The thread was given up: it ends when its run returns, should it ever."""
    closes: bool = False
    """It then closes the backend, for nobody else does."""


class Watchdog:
    """Sees for how long each run takes.

    Args:
        lock: guards the seats.
        timeout: seconds that one run may take before it counts as hanging.
        give_up: gets the seat of a run that hangs, and holds the lock; the seat is lost already.
    """

    def __init__(self, lock: threading.RLock, timeout: float, give_up: Callable[[Seat], None]) -> None:
        self._lock = lock
        self._timeout = timeout
        self._give_up = give_up
        self._running: set[Seat] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def run(self, seat: Seat, backend: Backend, images: Tensor, *, spread: bool) -> NDArray[np.float32]:
        """Run the backend on the calling thread, whose seat this is; see Backend.run.

        Raises:
            AbandonedError: it was given up meanwhile; its thread shall end.
        """
        with self._lock:
            seat.backend, seat.since = backend, time.monotonic()
            self._running.add(seat)
        try:
            return backend.run(images, spread=spread)
        finally:
            with self._lock:
                seat.backend = seat.since = None
                self._running.discard(seat)
            if seat.lost:
                if seat.closes:
                    backend.close()
                raise AbandonedError

    def close(self) -> None:
        """Watch no more."""
        self._closing.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closing.wait(min(self._timeout / 4, 0.25)):
            with self._lock:
                late = [seat for seat in self._running if self._is_late(seat)]
                for seat in late:
                    self._running.discard(seat)
                    seat.lost = True
                    self._give_up(seat)
            for seat in late:
                logger.error(
                    "the backend of %s has not answered for %.1f s; it is given up and replaced",
                    seat.lane.servable.key if seat.lane else "?",
                    self._timeout,
                )

    def _is_late(self, seat: Seat) -> bool:
        return seat.since is not None and time.monotonic() - seat.since >= self._timeout
