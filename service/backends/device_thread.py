"""The one thread of a backend that calls its device.

ONNX Runtime keeps CUDA graphs, and handles of cuBLAS and cuDNN, for each thread: a graph that one thread captured is
captured anew by the next. While one is captured, a copy or an allocation by any other thread of the process makes both
fail (`cudaStreamCaptureModeGlobal`). So a backend opens, runs and releases its session on a thread of its own, and a
capture begins when no other thread is at work on the device, and lets none begin.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from service.problems.errors import BackendUnavailableError

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds to wait for what takes milliseconds: after them, something hangs."""


class Turns:
    """Calls to the device may overlap; a capture is alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._capturing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait until nothing is captured. Raises BackendUnavailableError if a capture hangs."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._capturing, PATIENCE):
                raise BackendUnavailableError(
                    f"a CUDA graph was not captured within {PATIENCE:g} s; restart the server"
                )
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Wait until nothing else is at work on the device. Raises RuntimeError, a refusal of capture, if it hangs."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._calls and not self._capturing, PATIENCE):
                raise RuntimeError(f"other work during CUDA graph capture did not end within {PATIENCE:g} s")
            self._capturing = True
        try:
            yield
        finally:
            with self._changed:
                self._capturing = False
                self._changed.notify_all()


_TURNS = Turns()
"""Of the process: a capture is disturbed by any of its threads."""


class DeviceThread:
    """A thread that works until `close`. It is a daemon: a run that hangs does not keep the process from ending.

    Args:
        turns: of all threads that use the device.
    """

    def __init__(self, turns: Turns = _TURNS) -> None:
        self._turns = turns
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="device", daemon=True).start()

    def call(self, work: Callable[[], T], /, *, captures: bool = False) -> T:
        """Return what `work` returns on this thread.

        Args:
            work: to be done.
            captures: whether it may capture a CUDA graph.

        Raises:
            BackendUnavailableError, RuntimeError: as Turns.
            Exception: what `work` raises.
        """
        future: Future[T] = Future()
        self._put(future, work, captures=captures)
        return future.result()

    def close(self, release: Callable[[], object]) -> None:
        """End the thread after what it does now and `release`; do not wait for it."""
        self._put(Future(), release, captures=False)
        self._waiting.put(None)

    def _put(self, future: Future[Any], work: Callable[[], Any], *, captures: bool) -> None:
        def do() -> None:
            try:
                with self._turns.capture() if captures else self._turns.call():
                    found = work()
            except Exception as error:  # noqa: BLE001 -- the caller gets it
                future.set_exception(error)
            else:
                future.set_result(found)

        self._waiting.put(do)

    def _work(self) -> None:
        while (do := self._waiting.get()) is not None:
            do()
            del do  # it holds images and sessions
