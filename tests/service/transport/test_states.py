"""States of a connection, with small apps: half-closed, pipelined, streamed, disconnected, slow."""

import asyncio
import gc
import logging
import resource
import socket
import threading
import time
import weakref
from contextlib import ExitStack, suppress

import pytest
from starlette.types import Receive, Scope, Send

from service.transport import guard
from tests.service.transport.apps import (
    MAX_HEADER_BYTES,
    PATIENCE,
    after,
    answering,
    immediately,
    read_to_end,
    served,
    statuses,
)
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CUT = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"


@pytest.mark.parametrize(
    ("requests", "expected"), [(GET, 1), (GET + GET, 2), (GET + CUT, 1), (GET + GET + CUT, 2), (GET + GET[:20], 1)]
)
def test_complete_requests_of_a_half_closed_connection_are_served(requests: bytes, expected: int) -> None:
    async def read_all(_scope: Scope, receive: Receive) -> None:
        await asyncio.sleep(0.3)
        while (message := await receive()).get("more_body", False):
            pass
        if message["type"] == "http.disconnect":
            raise ConnectionError

    with served(answering(read_all), request_timeout=0.2, keep_alive=60) as server:
        start = time.monotonic()
        assert statuses(server.exchange(requests, half_close=True)) == expected * [200]
        assert time.monotonic() - start < PATIENCE  # closed immediately, not after the keep-alive timeout


@pytest.mark.parametrize(("request_", "expected"), [(GET, {100, 200}), (GET.replace(b"1.1", b"1.0"), {200})])
def test_interim_responses_are_sent_to_http_1_1_clients_only(
    request_: bytes, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "INTERIM_SECONDS", 0.05)
    with served(answering(after(0.3))) as server:
        assert set(statuses(server.exchange(request_, half_close=True))) == expected


def test_no_interim_response_is_sent_within_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "INTERIM_SECONDS", 0.05)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"on", "more_body": True})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"ce"})

    with served(app) as server:
        assert server.exchange(GET, half_close=True).endswith(b"\r\n\r\nonce")


@pytest.mark.parametrize(("rest", "expected"), [(True, [200, 200]), (False, [200, 408])])
@pytest.mark.parametrize("request_", [GET, CUT + b"ending"], ids=["half a head", "half a body"])
def test_a_partial_request_does_not_time_out_while_the_previous_one_runs(
    request_: bytes, rest: bool, expected: list[int]
) -> None:
    partial = request_[:20] if request_ == GET else CUT
    gate = threading.Event()

    async def wait(_scope: Scope, receive: Receive) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        while (await receive()).get("more_body", False):
            pass

    with served(answering(wait), request_timeout=0.2) as server, server.connect() as connection:
        connection.sendall(GET + partial)
        connection.settimeout(0.6)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE)
        if rest:
            connection.sendall(request_[len(partial) :])
            connection.shutdown(socket.SHUT_WR)
        gate.set()
        assert statuses(read_to_end(connection)) == expected


def test_a_late_body_ends_a_response_that_has_started() -> None:
    """A 408 would be sent in the middle of the response."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await receive()
        await receive()

    with served(app, request_timeout=0.2) as server:
        assert statuses(server.exchange(CUT)) == [200]


def test_an_app_whose_body_is_late_sees_a_disconnect_before_the_connection_is_closed() -> None:
    open_connections: list[int] = []

    async def disconnected(_scope: Scope, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        open_connections.append(len(server.server.server_state.connections))

    with served(answering(disconnected), request_timeout=0.2) as server:
        assert statuses(server.exchange(CUT)) == [408]
        wait_until(lambda: open_connections)
    assert open_connections == [1]


def test_a_running_request_sees_a_disconnect_although_others_are_queued_behind_it() -> None:
    """The client does not read the first response. uvicorn notifies only the last request of the connection."""
    seen = threading.Event()

    async def disconnected(scope: Scope, receive: Receive) -> None:
        while scope["path"] == "/wait" and (await receive())["type"] != "http.disconnect":
            pass
        if scope["path"] == "/wait":
            seen.set()

    app = answering(disconnected, bytes(20_000_000))
    with served(app, request_timeout=0.3) as server, server.connect(receive_buffer=4096) as connection:
        connection.sendall(GET + 2 * GET.replace(b"/ ", b"/wait ", 1))
        assert seen.wait(PATIENCE)


def test_a_connections_memory_is_released_after_the_client_disconnects() -> None:
    with served(answering(after(0.2))) as server:
        for partial in (GET[:20], CUT, GET):
            with server.connect() as connection:
                connection.sendall(partial)
                wait_until(lambda: server.server.server_state.connections)
                time.sleep(0.05)
                found: weakref.ref[object] = weakref.ref(next(iter(server.server.server_state.connections)))

            def is_released(reference: weakref.ref[object] = found) -> bool:
                gc.collect()
                return reference() is None

            wait_until(is_released)  # PATIENCE is less than the request timeout


def test_a_client_that_disconnects_without_reading_is_not_reported_as_slow(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        served(answering(immediately, bytes(20_000_000)), request_timeout=0.3) as server,
    ):
        with server.connect(receive_buffer=4096) as connection:
            connection.sendall(GET)
            assert connection.recv(1) == b"H"
        time.sleep(0.8)
        assert "nothing more could be sent" not in caplog.text


def test_a_connection_stays_open_after_a_long_response_is_read() -> None:
    body = bytes(20_000_000)  # more than the system's buffers hold: writing is paused
    with served(answering(immediately, body), request_timeout=0.5) as server, server.connect() as connection:
        for pause in (1.3, 0):
            connection.sendall(GET)
            received = 0
            while received < len(body):
                part = connection.recv(2**20)
                assert part
                received += len(part)
            time.sleep(pause)


def test_pipelined_requests_of_many_connections_do_not_block_other_connections() -> None:
    answered = 0
    while_waiting: list[int] = []
    other_came = asyncio.Event()

    async def count(scope: Scope, _receive: Receive) -> None:
        nonlocal answered
        answered += 1
        if scope["path"] != "/other":
            await other_came.wait()
        else:
            other_came.set()
            before = answered
            for _ in range(20):
                await asyncio.sleep(0)
            while_waiting.append(answered - before)

    with served(answering(count)) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect(receive_buffer=2**20)) for _ in range(20)]
        for connection in connections:
            connection.sendall(200 * GET)
        for _ in range(5):
            assert statuses(server.exchange(CLOSE.replace(b"/ ", b"/other ", 1))) == [200]
    assert len(while_waiting) == 5
    assert max(while_waiting) <= 25  # one in each pass of the event loop


async def closing(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Refuse a request and close its connection."""
    await asyncio.sleep(0.3)
    headers = [(b"content-length", b"2"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


def test_bytes_after_the_last_request_of_a_connection_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), served(closing) as server:
        for rest in (GET, b"junk\r\n\r\n", 100 * GET + b"junk\r\n\r\n"):
            assert statuses(server.exchange(GET + rest)) == [503]
    assert "closing a connection" not in caplog.text
    assert "Traceback" not in caplog.text


def test_bytes_of_a_refused_client_are_not_kept_in_memory() -> None:
    """The first request is refused and the connection closed while the body of the second is being sent."""
    partial = GET + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    with served(closing, request_timeout=3) as server, server.connect() as connection:
        connection.sendall(partial)
        sent = 0
        with suppress(OSError):
            while sent < 200_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent > 30_000_000  # more than the system's buffers hold
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_connection_is_read_again_after_many_pipelined_requests_are_served() -> None:
    with served(answering(immediately)) as server, server.connect() as connection:
        for count in (300, 1):
            connection.sendall(count * GET)
            answers = b""
            while answers.count(b"ok") < count:
                part = connection.recv(65536)
                assert part
                answers += part


def test_a_request_may_run_longer_than_the_keep_alive_timeout() -> None:
    with served(answering(after(0.7)), keep_alive=1) as server, server.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            assert statuses(connection.recv(65536)) == [200]
            time.sleep(0.6)


def test_bytes_of_heads_are_counted_for_each_request_separately() -> None:
    with served(answering(immediately)) as server, server.connect() as connection:
        for _ in range(2 * MAX_HEADER_BYTES // len(GET)):
            connection.sendall(GET[:20])
            time.sleep(0.0005)
            connection.sendall(GET[20:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("rest", [b"", GET])
def test_connect_is_handled_as_an_ordinary_request(rest: bytes) -> None:
    with served(answering(immediately)) as server, server.connect() as connection:
        connection.sendall(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n" + rest)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_to_end(connection))[0] in (200, 400)
