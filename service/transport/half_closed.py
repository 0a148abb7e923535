"""Half-closed connections: the client ends its direction after the request, as `nc -N` does, and awaits the answer.

A client that disconnected looks the same, until bytes that are sent to it are answered by a reset. So while the answer
takes long, an interim response (100, which clients ignore: RFC 9110, section 15.2) is sent every SECONDS: after a
disconnect the first one triggers a reset, the next one fails, and the request counts as abandoned.
"""

import asyncio
from collections.abc import Callable

SECONDS = 1.0
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class Probe:
    """Sends interim responses until it is stopped.

    Args:
        transport: of the connection.
        loop: of the transport.
        may_send: whether an interim response may be sent now: before the answer, to a client of HTTP/1.1.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, may_send: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._may_send = may_send
        self._timer = loop.call_later(SECONDS, self._send)

    def stop(self) -> None:
        """Stop sending."""
        self._timer.cancel()

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        if self._may_send():
            self._transport.write(_INTERIM)
        self._timer = self._loop.call_later(SECONDS, self._send)
