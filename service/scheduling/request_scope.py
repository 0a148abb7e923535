"""Who waits for an answer: until when, and whether still there."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive

from service.problems.client_errors import ClientGoneError
from service.problems.errors import ProblemError
from service.problems.server_errors import DeadlineError

_ANSWERED = ClientGoneError("the answer is out already")

_SHORT = 0.05
"""Seconds. What is answered within them costs no watching: that a client left would be noticed no sooner."""


class RequestScope:
    """The client of one request; a context within which its work is worth doing. Made on the event loop.

    Whatever it waits for ends with the reason as soon as it no longer waits; work that has not begun is then dropped.

    Args:
        timeout_ms: how long it waits.
        waited_ms: of that, how long it has waited already.
    """

    def __init__(self, timeout_ms: int, waited_ms: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_ms = timeout_ms
        self._seconds = max(0.0, timeout_ms - waited_ms) / 1000
        self._deadline = time.monotonic() + self._seconds
        self._end: ProblemError | None = None
        self._futures: list[asyncio.Future[Any]] = []
        self._watcher: asyncio.TimerHandle | asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._seconds, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if isinstance(self._watcher, asyncio.TimerHandle):
            self._watcher.cancel()
        self._end = self._end or _ANSWERED
        for future in self._futures:
            future.cancel()  # nobody waits for what is not done yet

    def future(self) -> asyncio.Future[Any]:
        """Return a future that fails when the scope's patience ends.

        Raises:
            DeadlineError, ClientGoneError: it has ended.
        """
        if self._end is not None:
            raise self._end
        future = self._loop.create_future()
        self._futures.append(future)
        return future

    def refusal(self) -> ProblemError | None:
        """Return why work for this scope must not begin; None if it may. May be called from any thread."""
        if self._end is None and time.monotonic() >= self._deadline:
            return self._overdue()
        return self._end

    def watch(self, receive: Receive) -> None:
        """Notice when the client goes away. The request's body has been read; `receive` tells nothing else any more."""
        self._watcher = self._loop.call_later(_SHORT, self._begin_to_watch, receive)

    def _begin_to_watch(self, receive: Receive) -> None:
        self._watcher = self._loop.create_task(self._until_gone(receive))

    async def _until_gone(self, receive: Receive) -> None:
        """Wait for the disconnect. A server also reports one when the answer is out, which changes nothing."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._leave(ClientGoneError("the client closed the connection before it was answered"))

    def _expire(self) -> None:
        self._leave(self._overdue())

    def _overdue(self) -> DeadlineError:
        return DeadlineError(
            f"no answer within the {self._timeout_ms} ms allowed; give timeout_ms more, or ask when there is less to do"
        )

    def _leave(self, reason: ProblemError) -> None:
        if self._end is not None:
            return
        self._end = reason
        for future in self._futures:
            if not future.done():
                future.set_exception(reason)
