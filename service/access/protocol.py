"""The guard on every connection: a request's head and its body arrive in time, and the head is not too large.

uvicorn bounds neither: its only timer runs between an answer and the next byte. Here a deadline runs whenever bytes of
a client are awaited: from the connection to the end of the first head, from a head's first byte to its last, from there
to the body's last. None runs while the server works, or does not read because it has enough.
"""

import asyncio
import logging
import secrets
from http import HTTPStatus
from typing import ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.access.answers import error_answer
from service.access.errors import HeadTooLargeError, MalformedRequestError, RequestTimeoutError
from service.errors import ProblemError

logger = logging.getLogger(__name__)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request that is refused here is answered by the protocol and reaches no application.

    A request whose body is late has reached one, which sees the client disconnect.
    """

    request_timeout: ClassVar[float]
    """Seconds for a head, and for a body."""
    max_header_bytes: ClassVar[int]
    """Bytes of a request line and its headers, and of trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.url = b""
        self._awaited: Literal["head", "body"] | None = None
        """What of a request that has begun is not complete."""
        self._stage = 0  # grows whenever what is awaited changes
        self._named = 0  # bytes of this request's line, headers and trailers that the parser has handed over
        self._unparsed = 0  # bytes since the parser last handed over anything
        self._body_came = False
        self._refusal: ProblemError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timed_stage = 0
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then see what is awaited now."""
        stage, self._body_came = self._stage, False
        super().data_received(data)
        if self.transport.is_closing():
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
        self._await("body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that what comes is a body."""
        self._body_came = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Await nothing."""
        self._await(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, or what was refused while it parsed."""
        self._refuse(self._refusal or MalformedRequestError(f"{msg} Expected HTTP/1.1, without TLS"))

    def _await(self, what: Literal["head", "body"] | None) -> None:
        self._awaited = what
        self._stage += 1
        self._unparsed = 0

    def _count(self, size: int) -> None:
        self._named += size
        if self._named > self.max_header_bytes:
            self._refusal = self._too_large()
            raise self._refusal  # the parser stops, and uvicorn calls send_400_response

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
            self.transport.close()
        else:
            self._refuse(
                RequestTimeoutError(f"the request's {self._awaited} did not arrive within {seconds}; send it faster")
            )

    def _too_large(self) -> HeadTooLargeError:
        return HeadTooLargeError(
            f"the request line and headers have more than the {self.max_header_bytes} bytes allowed; send fewer"
        )

    def _refuse(self, error: ProblemError) -> None:
        """Answer, unless an answer to this request or half of the one before is out, and close the connection."""
        self._disarm()
        logger.info("closing a connection: %s", error.detail)
        cycle = self.cycle
        if cycle is None or not cycle.response_started or (self._awaited != "body" and cycle.response_complete):
            path = self.url.partition(b"?")[0].decode("latin-1")
            self.transport.write(_raw(error, path))
        self.transport.close()


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
