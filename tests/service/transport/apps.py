"""Small apps behind the connection guard, in this process."""

import asyncio
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

PATIENCE = 15
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

    def ask(self, data: bytes, *, end: bool = False) -> bytes:
        """Return all that comes in return for `data` until the server closes; `end` closes this direction first."""
        with self.connect() as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return all_of(connection)


class AbortingServer(uvicorn.Server):
    """A server that aborts its connections when it stops: the event loop would leave their handles open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            assert isinstance(connection, HttpToolsProtocol)
            connection.transport.abort()
        await super().shutdown(sockets)


@contextmanager
def served(app: ASGIApp, request_timeout: float = 30.0, *, plain: bool = False) -> Iterator[Served]:
    """Serve an app with the guard's limits until the block ends; `plain`, with uvicorn's own protocol."""
    guard = Guard(request_timeout, MAX_HEADER_BYTES, Connections(1000, 10_000))
    options: dict[str, Any] = {"loop": "uvloop", "ws": "none", "lifespan": "off", "log_config": None}
    config = uvicorn.Config(app, http="httptools" if plain else guarded(guard), timeout_graceful_shutdown=1, **options)
    server = AbortingServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield Served(listener.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.002)


def all_of(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes; interim responses may come without end."""
    answer, end = b"", time.monotonic() + PATIENCE
    while part := connection.recv(65536):
        answer += part
        assert time.monotonic() < end, answer[-1000:]
    return answer


def answering(before: Callable[[Scope, Receive], Awaitable[object]], body: bytes = b"ok") -> ASGIApp:
    """Return an app that awaits `before`, and answers 200."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await before(scope, receive)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def nothing(_scope: Scope, _receive: Receive) -> None:
    """Answer at once."""


def after(seconds: float) -> Callable[[Scope, Receive], Awaitable[object]]:
    return lambda _scope, _receive: asyncio.sleep(seconds)
