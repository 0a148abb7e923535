"""Thread of a backend for all calls to its device.

ONNX Runtime stores CUDA graphs, and handles of cuBLAS and cuDNN, per thread: a graph captured by one thread is captured
again by the next. During a capture, a copy or an allocation by any other thread of the process makes both fail
(`cudaStreamCaptureModeGlobal`). Therefore a backend opens, runs and releases its session on its own thread, and a
capture excludes the work of all other threads on the device.
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
"""Seconds to wait for operations that take milliseconds, before they count as hanging."""


class Turns:
    """Shared lock for calls to the device, exclusive lock for captures."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._capturing = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for the end of a capture. Raises BackendUnavailableError if it hangs."""
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
        """Wait until no other call uses the device. Raises RuntimeError, a refusal of capture, if a call hangs."""
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
"""Lock of the process, because any of its threads disturbs a capture."""


class DeviceThread:
    """Worker thread until `close`. It is a daemon, so a hanging run does not prevent the exit of the process.

    Args:
        turns: lock of all threads that use the device.
    """

    def __init__(self, turns: Turns = _TURNS) -> None:
        self._turns = turns
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="device", daemon=True).start()

    def call(self, work: Callable[[], T], /, *, captures: bool = False) -> T:
        """Run `work` on this thread and return its result.

        Args:
            work: the function.
            captures: whether it may capture a CUDA graph.

        Raises:
            BackendUnavailableError, RuntimeError: as Turns.
            Exception: any exception of `work`.
        """
        future: Future[T] = Future()
        self._put(future, work, captures=captures)
        return future.result()

    def close(self, release: Callable[[], object]) -> None:
        """End the thread after its current work and `release`, without waiting for it."""
        self._put(Future(), release, captures=False)
        self._waiting.put(None)

    def _put(self, future: Future[Any], work: Callable[[], Any], *, captures: bool) -> None:
        def do() -> None:
            try:
                with self._turns.capture() if captures else self._turns.call():
                    found = work()
            except Exception as error:  # noqa: BLE001 -- passed to the caller
                future.set_exception(error)
            else:
                future.set_result(found)

        self._waiting.put(do)

    def _work(self) -> None:
        while (do := self._waiting.get()) is not None:
            do()
            del do  # references images and sessions
