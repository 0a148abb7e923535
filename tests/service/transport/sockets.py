"""Requests of tests over sockets, to a server whose limits are short."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.service.pictures import encode, random_pixels
from tests.service.process import Running

PNG = encode(random_pixels())
TIMEOUT, KEEP_ALIVE, HEAD_BYTES, BODY_BYTES = 0.5, 3, 4096, 300_000
PATIENCE = 15
"""Seconds until a test fails: machines that run tests are busy."""
SOONEST = 0.9 * TIMEOUT
"""A test's clock starts after the server's."""


@contextmanager
def connected(server: Running) -> Iterator[socket.socket]:
    """Connect to a server; each part that is sent is a segment of its own."""
    url = httpx2.URL(server.url)
    with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def head(*headers: str, path: str = "/v1/classify", length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, *([] if length is None else [f"Content-Length: {length}"])]
    return "\r\n".join([*lines, "", ""]).encode()


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:  # it closed with bytes of ours unread; what came before has been read
        pass
    return answer


def drip(connection: socket.socket, data: bytes, pause: float = 0.02) -> float:
    """Send a byte at a time until the server closes the connection, and return the seconds that took."""
    start = time.monotonic()
    connection.settimeout(pause)
    for byte in data:
        try:
            connection.send(bytes([byte]))
            connection.recv(1, socket.MSG_PEEK)
            break  # an answer, or the end
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    connection.settimeout(PATIENCE)
    return time.monotonic() - start


def one_answer(connection: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    answer = b""
    while not (found := re.search(rb"content-length: (\d+)\r\n(?:.+\r\n)*\r\n", answer, re.IGNORECASE)) or (
        len(answer) < found.end() + int(found[1])
    ):
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def is_problem(answer: bytes, status: int, says: str) -> bool:
    start, _, body = answer.partition(b"\r\n\r\n")
    response = httpx2.Response(status, content=body)
    return (
        start.startswith(f"HTTP/1.1 {status} ".encode())
        and b"connection: close" in start.lower()
        and b"application/problem+json" in start
        and f"content-length: {len(body)}".encode() in start
        and f"x-request-id: {response.json()['id']}".encode() in start
        and says in response.json()["detail"]
    )


def sent_until_closed(connection: socket.socket, part: bytes, pause: float = 0.0) -> int:
    """Send `part` again and again, and return how many bytes went out before the server had enough."""
    sent, end = 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            return sent
        sent += len(part)
        time.sleep(pause)
    raise AssertionError(f"{sent} bytes were sent, and the connection is still open")
