"""Small apps served behind the connection guard, on a thread of this process."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.transport.connections import Connections
from service.transport.guard import Guard, guarded
from tests.service.waiting import wait_until

PATIENCE = 15
"""Seconds until a test fails: test machines are busy."""
MAX_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Served:
    port: int
    server: uvicorn.Server

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Send `data`, then half-close if asked to, and return everything received until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_to_end(connection)


class AbortingServer(uvicorn.Server):
    """Server that aborts its connections at shutdown, because the event loop would leave their handles open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            assert isinstance(connection, HttpToolsProtocol)
            connection.transport.abort()
        await super().shutdown(sockets)


@contextmanager
def served(
    app: ASGIApp, request_timeout: float = 30.0, *, keep_alive: int = 5, plain: bool = False
) -> Iterator[Served]:
    """Serve an app until the block ends, with the guard's limits, or with uvicorn's own protocol if `plain`."""
    guard = Guard(request_timeout, MAX_HEADER_BYTES, Connections(1000, 10_000))
    options: dict[str, Any] = {"loop": "uvloop", "ws": "none", "lifespan": "off", "log_config": None}
    config = uvicorn.Config(
        app,
        http="httptools" if plain else guarded(guard),
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=1,
        **options,
    )
    server = AbortingServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield Served(listener.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything received until the server closes, within PATIENCE: interim responses may repeat forever."""
    answer, end = b"", time.monotonic() + PATIENCE
    while part := connection.recv(65536):
        answer += part
        assert time.monotonic() < end, answer[-1000:]
    return answer


def answering(before: Callable[[Scope, Receive], Awaitable[object]], body: bytes = b"ok") -> ASGIApp:
    """Return an app that awaits `before` and responds with status 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await before(scope, receive)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def immediately(_scope: Scope, _receive: Receive) -> None:
    """Do not delay the response."""


def statuses(answers: bytes) -> list[int]:
    """Return the status of each HTTP/1.1 response."""
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+) ", answers)]


def after(seconds: float) -> Callable[[Scope, Receive], Awaitable[object]]:
    return lambda _scope, _receive: asyncio.sleep(seconds)
