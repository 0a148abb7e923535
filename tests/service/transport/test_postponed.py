"""Refusals that are sent after the responses to earlier requests of the connection."""

import asyncio
import threading

import pytest
from starlette.types import Receive, Scope

from service.transport.guard import GuardedProtocol
from tests.service.transport.apps import MAX_HEADER_BYTES, answering, read_to_end, served, statuses
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_head_refused_while_an_earlier_request_runs_is_not_completed_by_later_bytes() -> None:
    """The limit counts spaces that the parser skips, so the parser itself would accept the rest of the head."""
    gate = threading.Event()

    async def wait(scope: Scope, _receive: Receive) -> None:
        while scope["path"] == "/wait" and not gate.is_set():
            await asyncio.sleep(0.005)

    with served(answering(wait)) as server, server.connect() as connection:

        def is_postponed() -> bool:
            connections = list(server.server.server_state.connections)  # the server may still be adding this one
            return any(isinstance(one, GuardedProtocol) and getattr(one, "_postponed", None) for one in connections)

        connection.sendall(WAIT + CLOSE[:-2] + b"X-Large:" + b" " * (MAX_HEADER_BYTES + 256))
        wait_until(is_postponed)
        connection.sendall(b"value\r\n\r\n")
        for _ in range(2):  # the server reads connections in turn: by the second response it has read the bytes above
            assert statuses(server.exchange(CLOSE)) == [200]
        gate.set()
        assert statuses(read_to_end(connection)) == [200, 431]
