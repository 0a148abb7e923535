"""Backend that can be replaced by a new one for the same artifact when it crashes or hangs."""

import threading
from collections.abc import Callable

from service.backends.base import Backend


class Restartable:
    """Owner of the current backend.

    Args:
        open_: opens a backend; called immediately, and by every restart.

    Raises:
        GraphError, BackendUnavailableError: as Backend.
    """

    def __init__(self, open_: Callable[[], Backend]) -> None:
        self._open = open_
        self._lock = threading.Lock()
        self._closed = False
        self._backend: Backend | None = open_()
        self.on_cores = self._backend.on_cores
        """See Backend.on_cores."""
        self.overlaps = self._backend.overlaps
        """See Backend.overlaps."""
        self.name = self._backend.name
        """Runtime and device, as in responses: `onnxruntime-cpu`."""
        self.precision, self.operators = self._backend.precision, self._backend.operators

    def current(self) -> Backend:
        """Return the current backend; must not be called during a restart."""
        backend = self._backend
        assert backend is not None
        return backend

    def holds(self, backend: Backend) -> bool:
        """Return whether a backend is the current one; a replaced backend may still have runs."""
        return self._backend is backend

    def abandon(self, backend: Backend) -> bool:
        """Release a hanging backend, and return whether it was the current one; if so, the caller closes it."""
        with self._lock:
            if self._backend is not backend:
                return False
            self._backend = None
            return True

    def restart(self, check: Callable[[Backend], object]) -> None:
        """Close the current backend, if any, and open a new one after `check` accepts it.

        Raises:
            Exception: any exception of opening or checking; there is no current backend then.
        """
        self._close_current()
        fresh = self._open()
        try:
            check(fresh)
        except BaseException:
            fresh.close()
            raise
        with self._lock:
            if not self._closed:
                self._backend = fresh
                return
        fresh.close()

    def close(self) -> None:
        """Close the current backend permanently."""
        with self._lock:
            self._closed = True
        self._close_current()

    def _close_current(self) -> None:
        with self._lock:
            backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()
