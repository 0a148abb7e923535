"""Lingering close: a connection ends so that its last answer arrives (RFC 9112, section 9.6).

Bytes that arrive after a close are answered with a reset, which discards an answer that the client has not read yet. So
a connection on which the client may still be sending is closed in steps: the answer is sent, then this direction is
closed (half-close), then bytes are read and dropped until the client has sent all, sends nothing for IDLE_SECONDS, or
exceeds the time or the bytes allowed.

The head of an answer is sent with its body, in one segment: uvicorn writes the two one after the other.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
MOST_UNPARSED = 4 * 2**20
"""Bytes that are dropped where no body of known length is expected."""


_LONGEST_HEAD = 2048
"""Bytes of a write that may be a head."""


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` lets the client read the answer.

    Args:
        transport: transport of the connection.
        loop: loop of the transport.
        seconds: time for dropping bytes, and without progress until a client that does not read is disconnected.
        is_sending: whether a request has begun and not ended.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        is_sending: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.lingering = False
        """True if the answer is sent, and bytes are dropped."""
        self.ended = False
        """True if the client has ended its direction."""
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._is_sending = is_sending
        self._closing = False
        self._dropped = 0
        self._dropped_before = 0
        self._limit: int | None = None
        self._until = 0.0
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._head: bytes | bytearray | memoryview = b""
        """Bytes to be sent with the next write, or at the end of this pass of the event loop."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, unless the last answer of this connection is sent."""
        if self._closing:
            return
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines([head, data])
        elif len(data) <= _LONGEST_HEAD:
            self._head = data
            self._loop.call_soon(self._send_head)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent, and linger if the client is still sending; the second time, end lingering."""
        if not self._closing and self._is_sending():
            self.linger(None)
        else:
            self.finish()

    def linger(self, limit: int | None) -> None:
        """Half-close, and drop bytes: at most `limit`, None for as many as the request has."""
        if self.ended:
            self.finish()
            return
        self._send_head()
        self._closing = self.lingering = True
        self._limit = limit
        self._until = self._loop.time() + self._seconds
        self._transport.write_eof()
        self._transport.resume_reading()
        self._wait(min(IDLE_SECONDS, self._seconds), self._end_if_idle)

    def drop(self, size: int) -> None:
        """Count bytes that came and were dropped."""
        self._dropped += size
        if self._limit is not None and self._dropped > self._limit:
            self.finish()

    def finish(self) -> None:
        """Close without reading; what was sent has `seconds` to be received, or to make progress."""
        self._send_head()
        self._closing = True
        self.lingering = False
        self._transport.close()
        self.expect_reading()

    def expect_reading(self) -> None:
        """Abort the connection if the client receives nothing of what waits to be sent."""
        self._unsent = self._transport.get_write_buffer_size()
        self._wait(self._seconds, self._abort_unless_it_read)

    def expect_nothing(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_closing(self) -> bool:
        """Return whether the last answer is sent."""
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 -- the base class' own
        """Return that of the transport."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return that of the transport, and the head that waits for its body."""
        return self._transport.get_write_buffer_size() + len(self._head)

    def abort(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self._transport.is_closing():  # it may have been lost since
                self._transport.write(head)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self.expect_nothing()
        self._timer = self._loop.call_later(seconds, then)

    def _end_if_idle(self) -> None:
        idle = self._dropped == self._dropped_before
        self._dropped_before = self._dropped
        if idle or self._loop.time() >= self._until:
            self.finish()
        else:
            self._wait(min(IDLE_SECONDS, max(0.0, self._until - self._loop.time())), self._end_if_idle)

    def _abort_unless_it_read(self) -> None:
        if self._transport.get_write_buffer_size() < self._unsent:
            self.expect_reading()
        else:
            logger.info("closing a connection: nothing more could be sent for %g s", self._seconds)
            self._transport.abort()
