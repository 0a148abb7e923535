"""Connection guard: time limits for heads, bodies and unread responses, and a size limit for heads.

uvicorn has none of these limits: its only timer runs between a response and the next byte. Here a deadline runs while
bytes of a client are awaited: from the connection to the end of the first head, from a head's first byte to its last,
and from there to the end of the body. No deadline runs while the server works, or does not read because its buffer is
full. Another one runs while nothing can be sent, because a client that does not read would keep its request alive.

While requests wait for earlier ones, the connection is not read; uvicorn would continue to read and store them all.

See `parsing.py` for heads, `pipelining.py` for the start of pipelined requests, `lingering.py` for the end of a
connection, `connections.py` for their number.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.problems.client_errors import RequestTimeoutError
from service.problems.errors import ProblemError
from service.transport.connections import Connections
from service.transport.cors import Origins
from service.transport.lingering import MOST_UNPARSED, LingeringTransport
from service.transport.parsing import CountedRequests
from service.transport.pipelining import Following
from service.transport.refusals import raw_answer, refusing

logger = logging.getLogger(__name__)

_SECONDS_TO_BE_REFUSED = 1.0
"""Seconds for a connection over the limit to send its head and body."""
INTERIM_SECONDS = 1.0
"""Seconds between interim responses to a half-closed connection."""
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class _UnlessQueued(FlowControl):
    """Flow control that does not read while requests of this connection wait for earlier ones."""

    def __init__(self, transport: asyncio.Transport, is_queued: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._is_queued = is_queued

    def resume_reading(self) -> None:
        if not self._is_queued():
            super().resume_reading()


@dataclass(frozen=True)
class Guard:
    """Limits of every connection.

    Attributes:
        request_timeout: seconds for a head, for a body, and without progress of a client that does not read.
        max_header_bytes: maximum size of a request line with headers, and of trailers, in bytes.
        connections: limit of open connections.
        origins: origins with pages that may read a refusal; None for none.
        following: starts requests that waited for earlier ones of their connection.
    """

    request_timeout: float
    max_header_bytes: int
    connections: Connections
    origins: Origins | None = None
    following: Following = field(default_factory=Following)


class GuardedProtocol(CountedRequests):
    """Connection with limits. Refused requests are answered by the protocol and do not reach the application.

    If the body of a request is late, the application sees a disconnect. Earlier requests are answered first.
    """

    guard: ClassVar[Guard]
    transport: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Start to wait for the first head."""
        self._timeout, self.max_header_bytes = self.guard.request_timeout, self.guard.max_header_bytes
        lingering = LingeringTransport(transport, self.loop, self._timeout, lambda: self.awaited is not None)
        super().connection_made(lingering)
        self.flow = _UnlessQueued(lingering, lambda: bool(self.pipeline or self.left))
        self._answering: RequestResponseCycle | None = None
        """Request that is being answered; `cycle` is the last one received."""
        self._follows = False
        """True if the request that starts now has waited for an earlier one of this connection."""
        self._postponed: ProblemError | None = None
        """Last response of this connection, sent after earlier ones."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed_stage = 0
        self._instead: ASGI3Application | None = None
        """Application that refuses the first request if this connection is over the limit."""
        self._refuse_if_full(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and disconnect the request being answered, which may not be the last one received."""
        self._disarm()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self.transport.expect_nothing()

    def data_received(self, data: bytes) -> None:
        """Parse data, and set the timer for the awaited part."""
        if self.transport.lingering:
            self._drop(data)
            return
        if self._postponed is not None:
            return  # nothing after a refused request is parsed
        self._unset_keepalive_if_required()
        error = self.parse(data)
        if error is not None:
            self._refuse(error)
        if self.awaited is None and self._unanswered():
            self._disarm()
        elif self._timer is None or self._timed_stage != self.stage:
            # Also for bytes between requests, such as empty lines: they stop uvicorn's timer but start no request.
            self._arm()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own return type
        """Return whether to keep the connection, because a complete request (`nc -N`) must still be answered.

        While requests wait, the connection is not read, so its end is seen after their responses.
        """
        self.transport.ended = True
        if self._postponed is not None:
            return True
        if self.awaited == "body" or not self._unanswered():
            return False
        self.cycle.keep_alive = False
        self.loop.call_later(INTERIM_SECONDS, self._send_interim)
        return True

    def on_response_complete(self) -> None:
        """Start the next request, or send the postponed refusal."""
        self._follows = True
        super().on_response_complete()
        if self._postponed is not None:
            self._refuse(self._postponed)
        elif self.left and not self.pipeline:
            self.data_received(b"")
        self._follows = False

    def pause_writing(self) -> None:
        """Stop writing until the client has read."""
        super().pause_writing()
        self.transport.expect_reading()

    def resume_writing(self) -> None:
        """Write again."""
        self.transport.expect_nothing()
        super().resume_writing()

    def _refuse_if_full(self, transport: asyncio.Transport) -> None:
        """Refuse the first request if this connection is over the limit; immediately if many connections are."""
        descriptor = transport.get_extra_info("socket").fileno()
        error = self.guard.connections.refusal(len(self.connections), descriptor)
        if error is None:
            return
        self._instead = refusing(error, self.guard.origins)
        self._timeout = min(self._timeout, _SECONDS_TO_BE_REFUSED)
        if not self.guard.connections.may_read(len(self.connections), descriptor):
            self.transport.write(raw_answer(error, "", (), self.guard.origins))
            self.transport.finish()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        start = partial(super()._start_asgi_task, cycle, self._instead or app)
        if self._follows:
            self.guard.following.add(start, self.loop)
        else:
            start()

    def _drop(self, data: bytes) -> None:
        """Discard bytes after the last response; they are parsed to find the end of the request."""
        self.transport.drop(len(data))
        if not self.pipeline and self.parse(data) is None and self.awaited is None:
            self.transport.finish()

    def _send_interim(self) -> None:
        """Send interim responses, which clients ignore (RFC 9110, section 15.2), until the connection is closed.

        A disconnected client looks like one that has only closed its direction, until it answers bytes with a reset.
        """
        if self.transport.is_closing():
            return
        cycle = self._answering
        if cycle is not None and not cycle.response_started and cycle.scope["http_version"] == "1.1":
            self.transport.write(_INTERIM)
        self.loop.call_later(INTERIM_SECONDS, self._send_interim)

    def _unanswered(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self) -> None:
        self._disarm()
        self._timed_stage = self.stage
        self._timer = self.loop.call_later(self._timeout, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.flow.read_paused or (self.awaited == "head" and self._unanswered()):
            self._arm()  # the server is busy with this request or an earlier one
            return
        seconds = f"{self._timeout:g} s"
        if self.awaited is None:
            self.transport.finish()
        else:
            self._refuse(
                RequestTimeoutError(f"the request's {self.awaited} did not arrive within {seconds}; send it faster")
            )

    def _refuse(self, error: ProblemError) -> None:
        """Refuse the last request, unless it has a response, and close the connection after earlier responses."""
        if self.transport.is_closing():
            return
        if self.pipeline if self.awaited == "body" else self._unanswered():
            self._postponed = error
            return
        logger.info("closing a connection: %s", error.detail)
        if self.awaited == "body" and self.cycle.response_started:
            self.transport.finish()
            return
        path = self.url.partition(b"?")[0].decode("latin-1")
        self.transport.write(raw_answer(error, path, self.headers or (), self.guard.origins))
        if self.awaited == "body":
            self.cycle.disconnected = True  # prevents a second response
            self.cycle.message_event.set()
        self.transport.linger(MOST_UNPARSED)


def guarded(guard: Guard) -> type[GuardedProtocol]:
    """Return a protocol class with these limits for uvicorn's option `http`."""
    return type("GuardedProtocolWithLimits", (GuardedProtocol,), {"guard": guard})
