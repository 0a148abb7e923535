"""States of a connection, with apps that a test writes: half-closed, pipelined, streamed to, left, slow."""

import asyncio
import gc
import logging
import re
import resource
import socket
import threading
import time
import weakref
from contextlib import ExitStack, suppress

import pytest
from starlette.types import Receive, Scope, Send

from service.transport import guard
from tests.service.transport.apps import MAX_HEADER_BYTES, PATIENCE, after, all_of, answering, nothing, served, until

pytestmark = pytest.mark.slow  # they wait

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CUT = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"


def statuses(answers: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+) ", answers)]


@pytest.mark.parametrize(
    ("requests", "expected"), [(GET, 1), (GET + GET, 2), (GET + CUT, 1), (GET + GET + CUT, 2), (GET + GET[:20], 1)]
)
def test_a_half_closed_connection_gets_the_answers_to_what_came_whole(requests: bytes, expected: int) -> None:
    async def read_all(_scope: Scope, receive: Receive) -> None:
        await asyncio.sleep(0.3)
        while (message := await receive()).get("more_body", False):
            pass
        if message["type"] == "http.disconnect":
            raise ConnectionError

    with served(answering(read_all), request_timeout=0.2, keep_alive=60) as server:
        start = time.monotonic()
        assert statuses(server.ask(requests, end=True)) == expected * [200]
        assert time.monotonic() - start < PATIENCE  # closed, and not when an idle connection is


@pytest.mark.parametrize(("request_", "expected"), [(GET, {100, 200}), (GET.replace(b"1.1", b"1.0"), {200})])
def test_interim_responses_are_for_clients_of_http_1_1(
    request_: bytes, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "INTERIM_SECONDS", 0.05)
    with served(answering(after(0.3))) as server:
        assert set(statuses(server.ask(request_, end=True))) == expected


def test_no_interim_response_comes_within_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "INTERIM_SECONDS", 0.05)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"on", "more_body": True})
        await asyncio.sleep(0.3)
        await send({"type": "http.response.body", "body": b"ce"})

    with served(app) as server:
        assert server.ask(GET, end=True).endswith(b"\r\n\r\nonce")


@pytest.mark.parametrize(("rest", "expected"), [(True, [200, 200]), (False, [200, 408])])
@pytest.mark.parametrize("request_", [GET, CUT + b"ending"], ids=["half a head", "half a body"])
def test_a_begun_request_is_not_late_while_the_one_before_it_is_unanswered(
    request_: bytes, rest: bool, expected: list[int]
) -> None:
    begun = request_[:20] if request_ == GET else CUT
    gate = threading.Event()

    async def wait(_scope: Scope, receive: Receive) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        while (await receive()).get("more_body", False):
            pass

    with served(answering(wait), request_timeout=0.2) as server, server.connect() as connection:
        connection.sendall(GET + begun)
        connection.settimeout(0.6)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(PATIENCE)
        if rest:
            connection.sendall(request_[len(begun) :])
            connection.shutdown(socket.SHUT_WR)
        gate.set()
        assert statuses(all_of(connection)) == expected


def test_a_late_body_ends_an_answer_that_has_begun() -> None:
    """A 408 would stand in the middle of it."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await receive()
        await receive()

    with served(app, request_timeout=0.2) as server:
        assert statuses(server.ask(CUT)) == [200]


def test_the_app_sees_a_disconnect_when_its_body_is_late_before_the_connection_is_closed() -> None:
    open_then: list[int] = []

    async def disconnected(_scope: Scope, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        open_then.append(len(server.server.server_state.connections))

    with served(answering(disconnected), request_timeout=0.2) as server:
        assert statuses(server.ask(CUT)) == [408]
        until(lambda: open_then)
    assert open_then == [1]


def test_a_request_that_others_wait_for_sees_that_its_connection_was_aborted() -> None:
    """The client does not read the first answer. uvicorn tells the last request alone."""
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


@pytest.mark.slow
def test_nothing_of_a_connection_is_kept_when_the_client_has_left() -> None:
    with served(answering(after(0.2))) as server:
        for begun in (GET[:20], CUT, GET):
            with server.connect() as connection:
                connection.sendall(begun)
                until(lambda: server.server.server_state.connections)
                time.sleep(0.05)
                found: weakref.ref[object] = weakref.ref(next(iter(server.server.server_state.connections)))

            def is_gone(reference: weakref.ref[object] = found) -> bool:
                gc.collect()
                return reference() is None

            until(is_gone)  # PATIENCE is less than the request timeout


def test_a_client_that_left_while_it_did_not_read_is_not_reported_as_slow(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), served(answering(nothing, bytes(20_000_000)), request_timeout=0.3) as server:
        with server.connect(receive_buffer=4096) as connection:
            connection.sendall(GET)
            assert connection.recv(1) == b"H"
        time.sleep(0.8)
        assert "nothing more could be sent" not in caplog.text


def test_a_client_that_has_read_a_long_answer_keeps_its_connection() -> None:
    body = bytes(20_000_000)  # more than the system's buffers hold: writing is paused
    with served(answering(nothing, body), request_timeout=0.5) as server, server.connect() as connection:
        for pause in (1.3, 0):
            connection.sendall(GET)
            received = 0
            while received < len(body):
                part = connection.recv(2**20)
                assert part
                received += len(part)
            time.sleep(pause)


def test_pipelined_requests_of_many_connections_let_others_take_their_turns() -> None:
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
            assert statuses(server.ask(CLOSE.replace(b"/ ", b"/other ", 1))) == [200]
    assert len(while_waiting) == 5
    assert max(while_waiting) <= 25  # one in each pass of the event loop


async def closing(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Refuse a request, and close its connection."""
    await asyncio.sleep(0.3)
    headers = [(b"content-length", b"2"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


def test_what_follows_the_last_request_of_a_connection_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), served(closing) as server:
        for rest in (GET, b"junk\r\n\r\n", 100 * GET + b"junk\r\n\r\n"):
            assert statuses(server.ask(GET + rest)) == [503]
    assert "closing a connection" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_refused_client_may_send_without_end_and_nothing_of_it_is_held() -> None:
    """Its first request is refused, and the connection closed, while the body of its second one is sent."""
    begun = GET + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    with served(closing, request_timeout=3) as server, server.connect() as connection:
        connection.sendall(begun)
        sent = 0
        with suppress(OSError):
            while sent < 200_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent > 30_000_000  # more than the system's buffers hold
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_connection_is_read_again_when_all_of_many_pipelined_requests_are_answered() -> None:
    with served(answering(nothing)) as server, server.connect() as connection:
        for count in (300, 1):
            connection.sendall(count * GET)
            answers = b""
            while answers.count(b"ok") < count:
                part = connection.recv(65536)
                assert part
                answers += part


def test_a_request_may_be_answered_later_than_an_idle_connection_would_be_closed() -> None:
    with served(answering(after(0.7)), keep_alive=1) as server, server.connect() as connection:
        for _ in range(2):
            connection.sendall(GET)
            assert statuses(connection.recv(65536)) == [200]
            time.sleep(0.6)


def test_heads_in_pieces_are_counted_each_by_itself() -> None:
    with served(answering(nothing)) as server, server.connect() as connection:
        for _ in range(2 * MAX_HEADER_BYTES // len(GET)):
            connection.sendall(GET[:20])
            time.sleep(0.0005)
            connection.sendall(GET[20:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("rest", [b"", GET])
def test_connect_is_a_request_like_any_other(rest: bytes) -> None:
    with served(answering(nothing)) as server, server.connect() as connection:
        connection.sendall(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n" + rest)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(all_of(connection))[0] in (200, 400)


UPGRADE = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body of the request."""
    message = await receive() if scope["method"] == "POST" else {}
    body = message.get("body", b"")
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("plain", [False, True], ids=["guard", "plain uvicorn"])
def test_plain_uvicorn_loses_what_the_documentation_says(plain: bool) -> None:
    """See docs/operations.md, "Limits that a proxy can take over"."""
    large = GET[:-2] + b"X-Large: " + bytes(2 * MAX_HEADER_BYTES).replace(b"\0", b"x") + b"\r\n\r\n"
    with served(echo, plain=plain) as server:
        with server.connect() as connection:
            connection.sendall(large)
            assert statuses(connection.recv(65536)) == [200 if plain else 431]
        with server.connect() as connection:
            connection.sendall(UPGRADE)
            assert connection.recv(65536).endswith(b"body") != plain
    with served(answering(after(0.2)), plain=plain) as server:
        assert statuses(server.ask(GET, end=True)) == ([] if plain else [200])
