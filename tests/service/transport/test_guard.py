"""Time limits for clients that send too slowly, over sockets to a real process."""

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
    MIN_TIMEOUT,
    PATIENCE,
    PNG,
    TIMEOUT,
    connect,
    drip,
    head,
    is_problem,
    one_response,
    receive_to_end,
)

pytestmark = pytest.mark.slow


def test_a_head_sent_byte_by_byte_times_out(connection: socket.socket) -> None:
    taken = drip(connection, head(f"X-Slow: {'x' * 2000}"))
    assert MIN_TIMEOUT <= taken < PATIENCE
    assert is_problem(receive_to_end(connection), 408, "the request's head did not arrive within 0.5 s")


def test_plain_uvicorn_has_no_such_time_limit(repository: Path, tmp_path: Path) -> None:
    """The time limits come from the guard, which `uvicorn` started by hand does not have."""
    command = (sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app")
    with serving(tmp_path, "--port", "0", command=("env", f"POSBAKE_REPOSITORY={repository}", *command)) as running:
        assert httpx2.post(f"{running.url}/v1/classify", content=PNG).json()["variant"] == "mean"
        url = httpx2.URL(running.url)
        with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as slow:
            assert drip(slow, head(f"X-Slow: {'x' * 50}")) > 2 * TIMEOUT
            assert one_response(slow).startswith(b"HTTP/1.1 4")


def test_a_body_sent_byte_by_byte_times_out(connection: socket.socket) -> None:
    connection.sendall(head(length=2000))
    taken = drip(connection, bytes(2000))
    assert MIN_TIMEOUT <= taken < PATIENCE
    assert is_problem(receive_to_end(connection), 408, "the request's body did not arrive within 0.5 s")


def test_a_chunked_body_sent_byte_by_byte_times_out(connection: socket.socket) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    taken = drip(connection, b"1\r\nx\r\n" * 500)
    assert MIN_TIMEOUT <= taken < PATIENCE
    assert is_problem(receive_to_end(connection), 408, "body")


def test_a_timeout_under_v2_has_that_protocols_error_format(connection: socket.socket) -> None:
    connection.sendall(head(path="/v2/models/m/infer", length=10)[:-2])
    answer = receive_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the request\'s head did not' in answer


def test_a_silent_connection_is_closed_without_a_response(connection: socket.socket) -> None:
    start = time.monotonic()
    assert receive_to_end(connection) == b""
    assert time.monotonic() - start >= MIN_TIMEOUT


def test_empty_lines_do_not_keep_a_connection_open(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG)
    assert one_response(connection).startswith(b"HTTP/1.1 200 ")
    assert drip(connection, b"\r\n" * 1000) < PATIENCE
    assert receive_to_end(connection) == b""


def send_in_parts(connection: socket.socket, request: bytes, parts: int) -> bool:
    """Send a request within about a third of the time limit; return whether it was sent in time."""
    size, begun = -(-len(request) // parts), time.monotonic()
    try:
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
            time.sleep(TIMEOUT / 3 / parts)
    except (BrokenPipeError, ConnectionResetError):
        assert time.monotonic() - begun >= MIN_TIMEOUT  # the server closed the connection, but not too early
        return False
    return time.monotonic() - begun < MIN_TIMEOUT


@pytest.mark.parametrize("parts", [1, 2, 5, 40])
def test_a_request_sent_in_time_is_served_in_any_number_of_parts(server: Running, parts: int) -> None:
    request = head("X-Trace: 1", length=len(PNG)) + PNG
    for _ in range(10):
        with connect(server) as connection:
            connection.sendall(request)
            assert one_response(connection).startswith(b"HTTP/1.1 200 ")
            time.sleep(TIMEOUT / 2)  # the next request has its own deadline
            if send_in_parts(connection, request, parts):
                assert one_response(connection).startswith(b"HTTP/1.1 200 ")
                return
    pytest.skip("this machine is too busy to send a request in time")


def test_a_keep_alive_connection_may_idle_longer_than_the_request_timeout(connection: socket.socket) -> None:
    for pause in (TIMEOUT * 1.4, 0):
        connection.sendall(head(length=len(PNG)) + PNG)
        assert one_response(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(pause)
    start = time.monotonic()
    assert receive_to_end(connection) == b""
    assert time.monotonic() - start >= KEEP_ALIVE * 0.9


def test_slow_clients_do_not_delay_others(server: Running) -> None:
    answered = threading.Event()

    def attack(_: int) -> list[bytes]:
        """Connect repeatedly until the others are served; a server that waits for this client would delay them."""
        answers: list[bytes] = []
        while not (answers and answered.is_set()):
            with connect(server) as slow:
                drip(slow, head(f"X-Slow: {'x' * 2000}"), pause=0.1)
                answers.append(receive_to_end(slow))
        return answers

    with ThreadPoolExecutor(20) as pool:
        attacks = pool.map(attack, range(20))
        try:
            for _ in range(10):
                assert httpx2.post(f"{server.url}/v1/classify", content=PNG, timeout=PATIENCE).status_code == 200
        finally:
            answered.set()
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answers in attacks for answer in answers)
