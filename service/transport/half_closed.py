"""Half-closed connections: the client ends its direction after the request, as `nc -N` does, and awaits the answer.

A client that left looks the same, until bytes that are sent to it are answered by a reset. So where the answer takes
long, an interim one (100, which clients ignore: RFC 9110, section 15.2) is sent every SECONDS: the first makes the
system of a client that left answer with a reset, the next one fails, and the request counts as abandoned.
"""

import asyncio
from collections.abc import Callable

SECONDS = 1.0
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Probe:
    """Sends interim answers until it is stopped.

    Args:
        transport: of the connection.
        loop: of the transport.
        may_send: whether an interim answer makes sense now: none is being sent, and the client speaks HTTP/1.1.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, may_send: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._may_send = may_send
        self._timer = loop.call_later(SECONDS, self._send)

    def stop(self) -> None:
        """Send no more."""
        self._timer.cancel()

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        if self._may_send():
            self._transport.write(_INTERIM)
        self._timer = self._loop.call_later(SECONDS, self._send)
