"""Connections of clients that send too slowly; over sockets, against a real process."""

import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.service.process import Running, serving
from tests.service.transport.sockets import (
    KEEP_ALIVE,
    PATIENCE,
    PNG,
    SOONEST,
    TIMEOUT,
    connected,
    drip,
    head,
    is_problem,
    one_answer,
    received,
)

pytestmark = pytest.mark.slow


def test_a_head_that_comes_a_byte_at_a_time_is_cut_off(connection: socket.socket) -> None:
    taken = drip(connection, head(f"X-Slow: {'x' * 2000}"))
    assert SOONEST <= taken < PATIENCE
    assert is_problem(received(connection), 408, "the request's head did not arrive within 0.5 s")


def test_uvicorn_alone_would_wait_longer(repository: Path, tmp_path: Path) -> None:
    """What the tests here see comes from the guard; `uvicorn` started by hand has none."""
    command = (sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app")
    with serving(tmp_path, "--port", "0", command=("env", f"POSBAKE_REPOSITORY={repository}", *command)) as running:
        assert httpx2.post(f"{running.url}/v1/classify", content=PNG).json()["variant"] == "mean"
        url = httpx2.URL(running.url)
        with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as slow:
            assert drip(slow, head(f"X-Slow: {'x' * 50}")) > 2 * TIMEOUT
            assert one_answer(slow).startswith(b"HTTP/1.1 4")


def test_a_body_that_comes_a_byte_at_a_time_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(head(length=2000))
    taken = drip(connection, bytes(2000))
    assert SOONEST <= taken < PATIENCE
    assert is_problem(received(connection), 408, "the request's body did not arrive within 0.5 s")


def test_a_chunked_body_that_comes_a_byte_at_a_time_is_cut_off(connection: socket.socket) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    taken = drip(connection, b"1\r\nx\r\n" * 500)
    assert SOONEST <= taken < PATIENCE
    assert is_problem(received(connection), 408, "body")


def test_under_v2_a_timeout_has_the_form_of_that_protocol(connection: socket.socket) -> None:
    connection.sendall(head(path="/v2/models/m/infer", length=10)[:-2])
    answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the request\'s head did not' in answer


def test_a_connection_that_says_nothing_is_closed_without_an_answer(connection: socket.socket) -> None:
    start = time.monotonic()
    assert received(connection) == b""
    assert time.monotonic() - start >= SOONEST


def test_empty_lines_do_not_keep_a_connection_open(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG)
    assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
    assert drip(connection, b"\r\n" * 1000) < PATIENCE
    assert received(connection) == b""


def send_in_parts(connection: socket.socket, request: bytes, parts: int) -> bool:
    """Send a request over a third of the time allowed, and return whether it took no longer than that time."""
    size, begun = -(-len(request) // parts), time.monotonic()
    try:
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
            time.sleep(TIMEOUT / 3 / parts)
    except (BrokenPipeError, ConnectionResetError):
        assert time.monotonic() - begun >= SOONEST  # the server ended it, but not too early
        return False
    return time.monotonic() - begun < SOONEST


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_what_comes_in_time_is_answered_however_it_is_cut(server: Running, parts: int) -> None:
    request = head("X-Trace: 1", length=len(PNG)) + PNG
    for _ in range(10):
        with connected(server) as connection:
            connection.sendall(request)
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
            time.sleep(TIMEOUT / 2)  # the deadline of this request is not that of the next
            if send_in_parts(connection, request, parts):
                assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
                return
    pytest.skip("this machine is too busy to send a request in time")


def test_a_keep_alive_connection_may_rest_longer_than_a_request_may_take(connection: socket.socket) -> None:
    for pause in (TIMEOUT * 1.4, 0):
        connection.sendall(head(length=len(PNG)) + PNG)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(pause)
    start = time.monotonic()
    assert received(connection) == b""
    assert time.monotonic() - start >= KEEP_ALIVE * 0.9


def test_slow_clients_do_not_keep_others_waiting(server: Running) -> None:
    answered = threading.Event()

    def attack(_: int) -> list[bytes]:
        """Connect again and again until the others are answered, which a server that waits for this client delays."""
        answers: list[bytes] = []
        while not (answers and answered.is_set()):
            with connected(server) as slow:
                drip(slow, head(f"X-Slow: {'x' * 2000}"), pause=0.1)
                answers.append(received(slow))
        return answers

    with ThreadPoolExecutor(20) as pool:
        attacks = pool.map(attack, range(20))
        try:
            for _ in range(10):
                assert httpx2.post(f"{server.url}/v1/classify", content=PNG, timeout=PATIENCE).status_code == 200
        finally:
            answered.set()
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answers in attacks for answer in answers)
