"""The guard on every connection: heads and bodies arrive in time, heads are not too large, answers are taken away.

uvicorn bounds none of this: its only timer runs between an answer and the next byte. Here a deadline runs whenever
bytes of a client are awaited: from the connection to the end of the first head, from a head's first byte to its last,
from there to the body's last. None runs while the server works, or does not read because it has enough. Another runs
while nothing more can be sent: a client that does not read would keep its request, and what serves it, for ever.

While requests wait for the one before them nothing is read, where uvicorn would read on and hold them all. A wish to
upgrade the connection is ignored. uvicorn does not grant it either, but the parser drops the body of such a request:
Java's own client sends one with every first request, in case the server speaks HTTP/2.
"""

import asyncio
import logging
import secrets
from collections.abc import Sized
from http import HTTPStatus
from typing import ClassVar, Literal

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.access.answers import error_answer
from service.access.errors import HeadTooLargeError, MalformedRequestError, RequestTimeoutError
from service.errors import ProblemError

logger = logging.getLogger(__name__)


class _UnlessQueued(FlowControl):
    """Reads no more while requests of this connection wait for the one before them."""

    def __init__(self, transport: asyncio.Transport, queued: Sized) -> None:
        super().__init__(transport)
        self._queued = queued

    def resume_reading(self) -> None:
        if not self._queued:
            super().resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request that is refused here is answered by the protocol and reaches no application.

    A request whose body is late has reached one, which sees the client disconnect. Requests before it are answered
    first.
    """

    request_timeout: ClassVar[float]
    """Seconds for a head, for a body, and until a client that does not read is let go."""
    max_header_bytes: ClassVar[int]
    """Bytes of a request line and its headers, and of trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.flow = _UnlessQueued(transport, self.pipeline)
        self.url = b""
        self._awaited: Literal["head", "body"] | None = None
        """What of a request that has begun is not complete."""
        self._stage = 0  # grows whenever what is awaited changes
        self._named = 0  # bytes of this request's line, headers and trailers that the parser has handed over
        self._unparsed = 0  # bytes since the parser last handed over anything
        self._body_came = False
        self._answering: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the last one that came."""
        self._refusal: ProblemError | None = None
        self._postponed: ProblemError | None = None
        """The last answer of this connection, which those before it are waited for."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed_stage = 0
        self._reading_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes that the client had not read when that began
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and tell the request that is being answered, which may not be the last that came."""
        self._disarm()
        self._expect_no_reading()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then see what is awaited now."""
        if self._postponed is not None:
            return  # it makes no sense after what was refused
        stage, self._body_came = self._stage, False
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while (end := self._parse(rest)) is not None:
            self._parse(self._head_without_upgrade())
            if self._ends():
                break
            rest = rest[end:]
        if self._ends():
            self._disarm()
            return
        if self._awaited is not None and self._stage - stage <= 1:  # else `data` also ended what was before
            self._unparsed = 0 if self._body_came else self._unparsed + len(data)
            if self._unparsed > self.max_header_bytes:
                self._refuse(self._too_large())
                return
        if self._awaited is None and self._unanswered():
            self._disarm()
        elif self._timer is None or self._timed_stage != self._stage:
            # Also for bytes between requests, such as empty lines: they stop uvicorn's timer and begin no request.
            self._arm()

    def on_message_begin(self) -> None:
        """Await a head."""
        self._named = 0
        self._await("head")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count it."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it. A trailer is dropped: after the body it must not pass for a header."""
        self._count(len(name) + len(value) + 4)  # ": " and the line break
        if self._awaited == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Await a body; an empty one is complete at once."""
        if not self._will_be_parsed_again():
            super().on_headers_complete()
            self._await("body")

    def on_body(self, body: bytes) -> None:
        """Note that what comes is a body."""
        self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Await nothing."""
        if not self._will_be_parsed_again():
            self._await(None)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the refusal that was postponed."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        elif self._postponed is not None:
            self._refuse(self._postponed)

    def pause_writing(self) -> None:
        """Write no more until the client has read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Write again."""
        self._expect_no_reading()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which there was no request."""
        self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _parse(self, data: memoryview | bytes) -> int | None:
        """Parse, and return where a request ends whose wish to upgrade made the parser stop; None if there was none."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return int(upgrade.args[0]) if self._will_be_parsed_again() else None
        except httptools.HttpParserError:
            found = "Invalid HTTP request received. Expected HTTP/1.1, without TLS"
            self._refuse(self._refusal or MalformedRequestError(found))
        return None

    def _ends(self) -> bool:
        """Return whether nothing more will be read of this connection."""
        return self.transport.is_closing() or self._postponed is not None

    def _will_be_parsed_again(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _await(self, what: Literal["head", "body"] | None) -> None:
        self._awaited = what
        self._stage += 1
        self._unparsed = 0

    def _count(self, size: int) -> None:
        self._named += size
        if self._named > self.max_header_bytes:
            self._refusal = self._too_large()
            raise self._refusal  # the parser stops; see _parse

    def _unanswered(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self) -> None:
        self._disarm()
        self._timed_stage = self._stage
        self._timer = self.loop.call_later(self.request_timeout, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused or (self._awaited == "head" and self._unanswered()):
            self._arm()  # it is the server that takes its time, with this request or with the one before
            return
        seconds = f"{self.request_timeout:g} s"
        if self._awaited is None:
            self._close()
        else:
            self._refuse(
                RequestTimeoutError(f"the request's {self._awaited} did not arrive within {seconds}; send it faster")
            )

    def _too_large(self) -> HeadTooLargeError:
        return HeadTooLargeError(
            f"the request line and headers have more than the {self.max_header_bytes} bytes allowed; send fewer"
        )

    def _refuse(self, error: ProblemError) -> None:
        """Answer what came last, unless an answer to it is out, and close; when those before it are answered."""
        self._disarm()
        if self.pipeline if self._awaited == "body" else self._unanswered():
            self._postponed = error
            return
        logger.info("closing a connection: %s", error.detail)
        if self._awaited != "body" or not self.cycle.response_started:
            path = self.url.partition(b"?")[0].decode("latin-1")
            self.transport.write(_raw(error, path))
        if self._awaited == "body":
            self.cycle.disconnected = True  # now, and not when the connection is closed: no second answer may follow
        self._close()

    def _close(self) -> None:
        """Close when the client has read all, or reads no more."""
        self.transport.close()
        self._expect_reading()

    def _expect_reading(self) -> None:
        self._expect_no_reading()
        self._unread = self.transport.get_write_buffer_size()
        if self._unread:
            self._reading_timer = self.loop.call_later(self.request_timeout, self._see_whether_it_read)

    def _expect_no_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _see_whether_it_read(self) -> None:
        if self.transport.get_write_buffer_size() < self._unread:
            self._expect_reading()
        else:
            logger.info("closing a connection: nothing more could be sent for %g s", self.request_timeout)
            self.transport.abort()


def guarded(request_timeout: float, max_header_bytes: int) -> type[GuardedProtocol]:
    """Return uvicorn's `http` with these limits.

    Args:
        request_timeout: seconds for a head, and for a body.
        max_header_bytes: bytes of a request line and its headers.
    """
    limits = {"request_timeout": request_timeout, "max_header_bytes": max_header_bytes}
    return type("GuardedProtocolWithLimits", (GuardedProtocol,), limits)


def _raw(error: ProblemError, path: str) -> bytes:
    """Return the whole answer as bytes: below the application there is no one else to write them."""
    request_id = secrets.token_hex(16)
    answer = error_answer(error, path, request_id)
    status = HTTPStatus(error.status)
    headers = {b"x-request-id": request_id.encode(), b"connection": b"close", **dict(answer.raw_headers)}
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), *(b"%s: %s" % item for item in headers.items())]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
