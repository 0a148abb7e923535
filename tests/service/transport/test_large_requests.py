"""Heads, bodies and trailers that are too large, and bytes that are not HTTP, over sockets to a real process."""

import http.client
import socket
import time

import httpx2
import pytest

from tests.service.process import Running
from tests.service.transport.sockets import (
    BODY_BYTES,
    HEAD_BYTES,
    MIN_TIMEOUT,
    PATIENCE,
    PNG,
    head,
    is_problem,
    one_response,
    receive_to_end,
    send_until_closed,
)

pytestmark = pytest.mark.slow


def test_a_large_head_is_refused_whether_in_one_header_the_path_or_many_headers(
    connection: socket.socket, server: Running
) -> None:
    large = head(f"X-Large: {'x' * HEAD_BYTES}")
    connection.sendall(large)
    assert is_problem(receive_to_end(connection), 431, f"more than the {HEAD_BYTES} bytes allowed")
    name, port = connection.getpeername()
    for request in (head(path="/" + "x" * HEAD_BYTES), head(*[f"X-{number}: 1" for number in range(HEAD_BYTES // 9)])):
        with socket.create_connection((name, port), timeout=PATIENCE) as other:
            other.sendall(request)
            assert is_problem(receive_to_end(other), 431, "allowed")
    assert httpx2.get(f"{server.url}/health/live", headers={"X-Large": "x" * (HEAD_BYTES - 500)}).status_code == 200


def test_an_endless_head_is_refused_once_it_is_too_large(connection: socket.socket) -> None:
    connection.sendall(head()[:-2] + b"X-Endless: ")
    sent = send_until_closed(connection, b"x" * 1000)
    assert sent < 8 * 2**20  # the capacity of the system's buffers, not of the server's
    answer = receive_to_end(connection)
    assert answer == b"" or is_problem(answer, 431, "allowed")  # the response may be lost if the connection was reset


@pytest.mark.parametrize("junk", [b"1;", b"0\r\nX-Endless: "], ids=["chunk extension", "trailer"])
def test_an_endless_chunk_extension_or_trailer_is_refused(connection: socket.socket, junk: bytes) -> None:
    connection.sendall(head("Transfer-Encoding: chunked") + junk)
    assert send_until_closed(connection, b"x" * 1000, pause=0.001) < 8 * 2**20


def test_a_trailer_is_not_treated_as_a_header(connection: socket.socket) -> None:
    body = b"%x\r\n%s\r\n0\r\nX-Request-Id: trailing\r\n\r\n" % (len(PNG), PNG)
    connection.sendall(head("Transfer-Encoding: chunked", "Trailer: X-Request-Id") + body)
    answer = one_response(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"trailing" not in answer


def test_an_endless_chunked_body_is_refused_at_the_size_limit_and_closed_at_the_time_limit(
    connection: socket.socket,
) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    start = time.monotonic()
    assert send_until_closed(connection, b"%x\r\n%s\r\n" % (50_000, bytes(50_000)), pause=0.001) > BODY_BYTES
    assert time.monotonic() - start >= MIN_TIMEOUT
    assert b"HTTP/1.1 413 " in receive_to_end(connection)


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / SPDY/9\r\n\r\n", b"GET\r\n\r\n"])
def test_bytes_that_are_not_http_get_400(connection: socket.socket, request_: bytes) -> None:
    connection.sendall(request_)
    assert is_problem(receive_to_end(connection), 400, "Invalid HTTP request received. Expected HTTP/1.1")


def test_a_client_that_sends_the_whole_body_before_it_reads_gets_413(server: Running) -> None:
    url = httpx2.URL(server.url)
    for _ in range(5):
        client = http.client.HTTPConnection(url.host, url.port, timeout=PATIENCE)
        client.request("POST", "/v1/classify", bytes(20 * BODY_BYTES))
        with client.getresponse() as response:
            assert response.status == 413
        client.request("POST", "/v1/classify", PNG)  # on the same connection
        with client.getresponse() as response:
            assert response.status == 200
        client.close()
