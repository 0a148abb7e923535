"""Deadline and disconnect of one request."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive

from service.problems.client_errors import ClientGoneError
from service.problems.errors import ProblemError
from service.problems.server_errors import DeadlineError

_ANSWERED = ClientGoneError("the request is answered already")

_SHORT = 0.25
"""Seconds after which a task watches a request for its disconnect; shorter requests need no task."""


class RequestScope:
    """Context with the deadline and disconnect of a request. Created on the event loop.

    Futures of the scope fail at its deadline, or when the client closes the connection; work that has not begun is
    then dropped.

    Args:
        timeout_ms: time limit of the request.
        waited_ms: elapsed part of it.
        receive: ASGI's receive after the body was read, which reports the disconnect; None ignores disconnects.
    """

    def __init__(self, timeout_ms: int, waited_ms: float = 0.0, receive: Receive | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_ms = timeout_ms
        self._seconds = max(0.0, timeout_ms - waited_ms) / 1000
        self._deadline = time.monotonic() + self._seconds
        self._receive = receive
        self._end: ProblemError | None = None
        self._futures: list[asyncio.Future[Any]] = []
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        unwatched = self._seconds if self._receive is None else min(_SHORT, self._seconds)
        self._timer = self._loop.call_later(unwatched, self._go_on)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._end = self._end or _ANSWERED
        for future in self._futures:
            future.cancel()  # results are no longer needed

    def future(self) -> asyncio.Future[Any]:
        """Return a future that fails at the deadline, or when the client disconnects.

        Raises:
            DeadlineError, ClientGoneError: the scope has ended.
        """
        if self._end is not None:
            raise self._end
        future = self._loop.create_future()
        self._futures.append(future)
        return future

    def refusal(self) -> ProblemError | None:
        """Return the error if work for this request must not begin, otherwise None. Thread-safe."""
        if self._end is None and time.monotonic() >= self._deadline:
            return self._overdue()
        return self._end

    def _go_on(self) -> None:
        """Expire, or continue to wait for the deadline and start watching for the disconnect."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._close(self._overdue())
            return
        self._timer = self._loop.call_later(left, self._go_on)
        if self._receive is not None and self._watcher is None:
            self._watcher = self._loop.create_task(self._until_disconnect(self._receive))

    async def _until_disconnect(self, receive: Receive) -> None:
        """Wait for the disconnect. A server also reports one after the response, which has no effect."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._close(ClientGoneError("the client closed the connection before it was answered"))

    def _overdue(self) -> DeadlineError:
        return DeadlineError(
            f"no response within the allowed {self._timeout_ms} ms; raise timeout_ms, or try again later"
        )

    def _close(self, reason: ProblemError) -> None:
        if self._end is not None:
            return
        self._end = reason
        for future in self._futures:
            if not future.done():
                future.set_exception(reason)
