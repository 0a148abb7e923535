"""The lifecycle of the server: it counts accepted requests, finishes them when it drains, and ends the process."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from service.abandoned import ABANDONED


class Lifecycle:
    """On the event loop only.

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


STOPPING = (signal.SIGTERM, signal.SIGINT)


class _StopError(BaseException):
    """The process was asked to stop."""


def until_stopped(run: Callable[[], int]) -> int:
    """Return the exit status that `run` returns, or 0 if a signal stops it where it handles none itself.

    The first process of a container has no default action for SIGTERM: a start that loads for minutes would go on.
    """
    for number in STOPPING:
        signal.signal(number, _stop)
    try:
        status = run()
    except BaseException:
        # An import that is stopped may raise an exception of its own: that of onnxruntime ends in AttributeError.
        if not _was_stopped():
            raise
        return 0
    return 0 if _was_stopped() else status


def _was_stopped() -> bool:
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    for other in STOPPING:
        signal.signal(other, signal.SIG_IGN)  # this one ends the process already
    logging.getLogger("service").info("stopping at %s, before anything was served", signal.Signals(number).name)
    raise _StopError


def end_process(status: int) -> NoReturn:
    """End the process with an exit status, also while threads hang that were abandoned.

    The interpreter's finalisation unwinds a daemon thread as soon as that asks for the interpreter lock. In the C++ of
    ONNX Runtime this ends in std::terminate: SIGABRT, status 134. So where such threads are left, the log and the
    standard streams are flushed, and the process ends without finalisation.
    """
    if ABANDONED:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
