"""Connection guard: time limits for heads, bodies and unread answers, and a size limit for heads.

uvicorn limits none of this: its only timer runs between an answer and the next byte. Here a deadline runs while bytes
of a client are awaited: from the connection to the end of the first head, from a head's first byte to its last, and
from there to the end of the body. None runs while the server works, or does not read because its buffer is full.
Another runs while nothing more can be sent: a client that does not read would hold its request without end.

While requests wait for the one before them, the connection is not read; uvicorn would read on and hold them all.

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
"""Time for a connection over the limit to send its head and its body."""
INTERIM_SECONDS = 1.0
"""Time between interim responses to a half-closed connection."""
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class _UnlessQueued(FlowControl):
    """Flow control that does not read while requests of this connection wait for the one before them."""

    def __init__(self, transport: asyncio.Transport, is_queued: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._is_queued = is_queued

    def resume_reading(self) -> None:
        if not self._is_queued():
            super().resume_reading()


@dataclass(frozen=True)
class Guard:
    """The limits of every connection.

    Attributes:
        request_timeout: seconds for a head, for a body, and without progress of a client that does not read.
        max_header_bytes: bytes of a request line and its headers, and of trailers.
        connections: limit of open connections.
        origins: origins whose pages may read a refusal; None for none.
        following: starts requests that waited for others of their connection.
    """

    request_timeout: float
    max_header_bytes: int
    connections: Connections
    origins: Origins | None = None
    following: Following = field(default_factory=Following)


class GuardedProtocol(CountedRequests):
    """One connection. A request that is refused here is answered by the protocol and does not reach the application.

    The application of a request whose body is late sees a disconnect. Requests before it are answered first.
    """

    guard: ClassVar[Guard]
    transport: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Begin to wait for the first head."""
        self._timeout, self.max_header_bytes = self.guard.request_timeout, self.guard.max_header_bytes
        lingering = LingeringTransport(transport, self.loop, self._timeout, lambda: self.awaited is not None)
        super().connection_made(lingering)
        self.flow = _UnlessQueued(lingering, lambda: bool(self.pipeline or self.left))
        self._answering: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the last one that came."""
        self._follows = False
        """True if the request that starts now has waited for another of this connection."""
        self._postponed: ProblemError | None = None
        """The last answer of this connection, sent after those before it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed_stage = 0
        self._instead: ASGI3Application | None = None
        """Application that answers the first request if this connection is over the limit."""
        self._refuse_if_full(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and disconnect the request that is being answered, which may not be the last that came."""
        self._disarm()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)
        self.transport.expect_nothing()

    def data_received(self, data: bytes) -> None:
        """Parse, then set the timer for what is awaited."""
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
            # Also for bytes between requests, such as empty lines: they stop uvicorn's timer and begin no request.
            self._arm()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own return type
        """Return whether to keep the connection: a request that came whole is answered, as that of `nc -N`.

        Where requests wait for it, the connection is not read, and its end comes after their answers.
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
            self.flow.resume_reading()
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
        """Refuse the first request if this connection is over the limit; at once if many are."""
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
        """Drop what comes after the last answer; it is parsed to find the end of the request."""
        self.transport.drop(len(data))
        if not self.pipeline and self.parse(data) is None and self.awaited is None:
            self.transport.finish()

    def _send_interim(self) -> None:
        """Send interim responses, which clients ignore (RFC 9110, section 15.2), until the connection is closed.

        A client that disconnected looks like one that has only ended its direction, until it answers bytes by a reset.
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
            self._arm()  # the server is busy with this request or with the one before
            return
        seconds = f"{self._timeout:g} s"
        if self.awaited is None:
            self.transport.finish()
        else:
            self._refuse(
                RequestTimeoutError(f"the request's {self.awaited} did not arrive within {seconds}; send it faster")
            )

    def _refuse(self, error: ProblemError) -> None:
        """Answer the last request, unless it has an answer, and close; after the answers to those before it."""
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
            self.cycle.disconnected = True  # no second answer may follow
            self.cycle.message_event.set()
        self.transport.linger(MOST_UNPARSED)


def guarded(guard: Guard) -> type[GuardedProtocol]:
    """Return a class for uvicorn's option `http` with these limits."""
    return type("GuardedProtocolWithLimits", (GuardedProtocol,), {"guard": guard})
