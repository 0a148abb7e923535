"""Draining: a server that stops accepts no request, and finishes those that it accepted."""

import time


class Lifecycle:
    """Counts accepted requests until the server drains. Used on the event loop only.

    Args:
        drain_seconds: how long accepted requests may take once the server drains.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._until: float | None = None
        self._accepted = 0

    @property
    def draining(self) -> bool:
        """Whether the server was told to stop; it accepts nothing any more."""
        return self._until is not None

    @property
    def accepted(self) -> int:
        """Requests that came before the server was told to stop and are not answered."""
        return self._accepted

    def enter(self) -> bool:
        """Count a request, and return whether it was accepted; then `leave` when it is answered."""
        if self.draining:
            return False
        self._accepted += 1
        return True

    def leave(self) -> None:
        """Forget an accepted request."""
        self._accepted -= 1

    def drain(self) -> None:
        """Accept no more."""
        if self._until is None:
            self._until = time.monotonic() + self._drain_seconds

    def over(self) -> bool:
        """Return whether the server may end: all that it accepted is answered, or took too long."""
        return self._until is not None and (self._accepted == 0 or time.monotonic() >= self._until)
