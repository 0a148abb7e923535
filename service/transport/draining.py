"""Draining: a stopping server accepts no requests, and finishes accepted ones."""

import time


class Lifecycle:
    """Counter of accepted requests, and state of draining. Used on the event loop only.

    Args:
        drain_seconds: time for accepted requests while the server drains.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._until: float | None = None
        self._accepted = 0

    @property
    def draining(self) -> bool:
        """True if the server is stopping and accepts no more requests."""
        return self._until is not None

    @property
    def accepted(self) -> int:
        """Number of accepted requests without a response."""
        return self._accepted

    def enter(self) -> bool:
        """Count a request, and return whether it is accepted; if so, call `leave` after the response."""
        if self.draining:
            return False
        self._accepted += 1
        return True

    def leave(self) -> None:
        """Remove an accepted request."""
        self._accepted -= 1

    def drain(self) -> None:
        """Stop accepting requests."""
        if self._until is None:
            self._until = time.monotonic() + self._drain_seconds

    def over(self) -> bool:
        """Return whether the server may end: all accepted requests are answered, or the drain time has passed."""
        return self._until is not None and (self._accepted == 0 or time.monotonic() >= self._until)
