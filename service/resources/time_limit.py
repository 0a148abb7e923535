"""Work with a time limit, on its own thread, which is abandoned if the work does not end."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import TypeVar

from service.resources.abandoned import ABANDONED

T = TypeVar("T")

GRACE = 1.0
"""Seconds for interrupted work to end."""


class TimeLimitError(Exception):
    """The work exceeded its time limit."""


class TimeLimit:
    """Time limit of a piece of work, with actions that interrupt the work.

    Args:
        seconds: duration from now.
    """

    def __init__(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        """Deadline in seconds of `time.monotonic()`."""
        self._lock = threading.Lock()
        self._exceeded = False
        self._actions: list[Callable[[], object]] = []

    def on_exceeded(self, action: Callable[[], object]) -> None:
        """Call `action` on another thread when the limit is exceeded; immediately if it already is."""
        with self._lock:
            if not self._exceeded:
                self._actions.append(action)
                return
        action()

    def exceed(self) -> None:
        """Call all actions."""
        with self._lock:
            self._exceeded = True
        for action in self._actions:
            action()


def within(seconds: float, work: Callable[[TimeLimit], T], discard: Callable[[T], object]) -> T:
    """Return the result of `work` if it ends in time.

    If the limit is exceeded and the actions do not end the work, its thread is abandoned: see
    `service.resources.abandoned`.

    Args:
        seconds: time limit.
        work: the work; receives its limit.
        discard: receives a late result, on the thread of the work.

    Raises:
        TimeLimitError: the limit is exceeded.
        Exception: any exception of `work`.
    """
    limit = TimeLimit(seconds)
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work(limit)
        except BaseException as error:  # noqa: BLE001 -- raised where the work is awaited
            with suppress(InvalidStateError):  # the outcome of late work is discarded
                future.set_exception(error)
            return
        try:
            future.set_result(result)
        except InvalidStateError:
            discard(result)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        wait([future], seconds)
    finally:  # also if Ctrl-C ends the wait
        if future.cancel():
            limit.exceed()
            thread.join(GRACE)
            if thread.is_alive():
                ABANDONED.record(thread, "load")
    if future.cancelled():
        raise TimeLimitError(f"it took longer than {seconds:g} s")
    return future.result()
