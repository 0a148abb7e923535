"""Raw HTTP requests over sockets, for tests of a server with short limits."""

import re
import socket
import time

import httpx2

from tests.service.pictures import encode, random_pixels
from tests.service.process import Running

PNG = encode(random_pixels())
TIMEOUT, KEEP_ALIVE, HEAD_BYTES, BODY_BYTES = 0.5, 3, 4096, 300_000
PATIENCE = 20
"""Seconds until a test fails: test machines are busy."""
MIN_TIMEOUT = 0.9 * TIMEOUT
"""Minimum seconds until a timeout that a test measures: its clock starts after the server's."""


def connect(server: Running) -> socket.socket:
    """Connect to a server, with one TCP segment for each send."""
    url = httpx2.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 0), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(*headers: str, path: str = "/v1/classify", length: int | None = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, *([] if length is None else [f"Content-Length: {length}"])]
    return "\r\n".join([*lines, "", ""]).encode()


def receive_to_end(connection: socket.socket) -> bytes:
    """Return everything received until the server closes."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:  # the server closed with unread request bytes; earlier data has been received
        pass
    return answer


def drip(connection: socket.socket, data: bytes, pause: float = 0.02) -> float:
    """Send one byte at a time until the server responds or closes, and return the elapsed seconds."""
    start = time.monotonic()
    connection.settimeout(pause)
    for byte in data:
        try:
            connection.send(bytes([byte]))
            connection.recv(1, socket.MSG_PEEK)
            break  # a response, or the end of the connection
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
    connection.settimeout(PATIENCE)
    return time.monotonic() - start


def one_response(connection: socket.socket) -> bytes:
    """Return one response from a keep-alive connection."""
    answer = b""
    while not (found := re.search(rb"content-length: (\d+)\r\n(?:.+\r\n)*\r\n", answer, re.IGNORECASE)) or (
        len(answer) < found.end() + int(found[1])
    ):
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def is_problem(answer: bytes, status: int, detail: str) -> bool:
    start, _, body = answer.partition(b"\r\n\r\n")
    response = httpx2.Response(status, content=body)
    return (
        start.startswith(f"HTTP/1.1 {status} ".encode())
        and b"connection: close" in start.lower()
        and b"application/problem+json" in start
        and f"content-length: {len(body)}".encode() in start
        and f"x-request-id: {response.json()['id']}".encode() in start
        and detail in response.json()["detail"]
    )


def send_until_closed(connection: socket.socket, part: bytes, pause: float = 0.0) -> int:
    """Send `part` repeatedly, and return the number of bytes sent before the server closed the connection."""
    sent, end = 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            return sent
        sent += len(part)
        time.sleep(pause)
    raise AssertionError(f"{sent} bytes were sent, and the connection is still open")
