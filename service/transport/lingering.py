"""Lingering close of connections, so that the last response arrives (RFC 9112, section 9.6).

Bytes that arrive after a close are answered with a reset, which discards a response that the client has not read yet.
Therefore a connection on which the client may still be sending is closed in steps: the response is sent, this direction
is closed (half-close), and bytes are read and discarded until the client has sent everything, sends nothing for
IDLE_SECONDS, or exceeds the allowed time or bytes.

The head and body of a response are sent in one segment, although uvicorn writes them separately.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
MOST_UNPARSED = 4 * 2**20
"""Maximum number of discarded bytes if no body of known length is expected."""


_LONGEST_HEAD = 2048
"""Maximum size of a write that is treated as a head, in bytes."""


class LingeringTransport(asyncio.Transport):
    """Transport with a lingering `close`.

    Args:
        transport: transport of the connection.
        loop: loop of the transport.
        seconds: time limit for discarding bytes, and for a client that does not read.
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
        """True if the response is sent and bytes are discarded."""
        self.ended = False
        """True if the client has closed its direction."""
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
        """Bytes to send with the next write, or at the end of this pass of the event loop."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, unless the last response of this connection was sent."""
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
        """Close after everything is sent, and linger if the client is still sending; a second call ends lingering."""
        if not self._closing and self._is_sending():
            self.linger(None)
        else:
            self.finish()

    def linger(self, limit: int | None) -> None:
        """Half-close, and discard bytes: at most `limit`, None for the rest of the request."""
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
        """Count discarded bytes."""
        self._dropped += size
        if self._limit is not None and self._dropped > self._limit:
            self.finish()

    def finish(self) -> None:
        """Close without reading; sent data have `seconds` to be received or to make progress."""
        self._send_head()
        self._closing = True
        self.lingering = False
        self._transport.close()
        self.expect_reading()

    def expect_reading(self) -> None:
        """Start the timer that aborts the connection if the client does not receive data."""
        self._unsent = self._transport.get_write_buffer_size()
        self._wait(self._seconds, self._abort_unless_it_read)

    def expect_nothing(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_closing(self) -> bool:
        """Return whether the last response was sent."""
        return self._closing or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 -- the base class' own
        """Return the transport's information."""
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return the size of the transport's buffer plus the head that waits for its body."""
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
