"""Restarts of failed backends, with exponential backoff."""

import logging
import threading
import time

from service.catalogue.catalogue import Servable
from service.problems.errors import BackendUnavailableError
from service.resources.abandoned import ABANDONED
from service.scheduling.variant_queue import VariantQueue

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class Restarts:
    """Restarter of failed backends, one thread for each. While a backend is down, its queue answers with 503.

    Args:
        lock: lock of Workers, which guards the queues.
        first_pause: seconds before the first restart.
        longest_pause: maximum pause in seconds.
    """

    def __init__(
        self, lock: threading.RLock, first_pause: float = FIRST_PAUSE, longest_pause: float = LONGEST_PAUSE
    ) -> None:
        self._lock = lock
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._closing = threading.Event()
        self._down: dict[VariantQueue, threading.Thread] = {}

    def servables(self) -> list[Servable]:
        """Return the versions whose backends are down."""
        with self._lock:
            return [queue.servable for queue in self._down]

    def device_failures(self) -> list[str]:
        """Return the distinct errors of failed devices."""
        with self._lock:
            return sorted({queue.device_failure for queue in self._down if queue.device_failure is not None})

    def begin(self, queue: VariantQueue) -> None:
        """Take the queue's backend out of service, and restart it. The caller holds the lock."""
        if queue in self._down or self._closing.is_set():
            return
        pause = self._pause(queue)
        thread = threading.Thread(target=self._restart, args=(queue, pause), name="restart", daemon=True)
        self._down[queue] = thread
        thread.start()

    def forget(self, queue: VariantQueue) -> None:
        """Stop restarting a queue's backend, because it is no longer served. The caller holds the lock."""
        self._down.pop(queue, None)

    def close(self) -> None:
        """Stop all restarts. One in progress is awaited; one that hangs is abandoned."""
        self._closing.set()
        with self._lock:
            threads = list(self._down.values())
        end = time.monotonic() + 5
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                ABANDONED.record(thread, "load")

    def _pause(self, queue: VariantQueue) -> float:
        pause = min(self._first_pause * 2.0**queue.failures, self._longest_pause)
        queue.failures += 1
        queue.down_until = time.monotonic() + pause
        return pause

    def _restart(self, queue: VariantQueue, pause: float) -> None:
        key = queue.servable.key
        while not self._closing.wait(pause) and queue in self._down:
            try:
                queue.servable.restart(queue.limit)
            except Exception as error:
                with self._lock:
                    pause = self._pause(queue)
                    queue.device_failure = str(error) if isinstance(error, BackendUnavailableError) else None
                logger.exception("%s could not be restarted; the next attempt is in %.1f s", key, pause)
            else:
                with self._lock:
                    queue.down_until = queue.device_failure = None
                    queue.restarts += 1
                    self.forget(queue)
                logger.warning("%s is served again, by a restarted backend", key)
                return
