"""Several requests on one connection: pipelining, upgrades, and clients that read slowly or not at all."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.service.process import Running
from tests.service.transport.sockets import (
    HEAD_BYTES,
    PATIENCE,
    PNG,
    TIMEOUT,
    drip,
    head,
    is_problem,
    one_response,
    receive_to_end,
)
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

MANY = 200
"""Number of requests that a client sends at once."""

STATUS = b"HTTP/1.1 200 "


def test_an_upgrade_request_is_answered_without_upgrading(connection: socket.socket) -> None:
    connection.sendall(head("Connection: Upgrade", "Upgrade: websocket", path="/v1/models", length=0))
    assert one_response(connection).startswith(b"HTTP/1.1 405 ")
    assert drip(connection, b"\r\nx" * 1000) < PATIENCE


def test_pipelined_requests_are_answered_in_order(connection: socket.socket) -> None:
    requests = [head(f"X-Request-Id: r{number}", length=len(PNG)) + PNG for number in range(5)]
    connection.sendall(b"".join(requests) + requests[0][:30])
    answer = receive_to_end(connection)  # until the incomplete sixth times out
    assert re.findall(rb'"id":"(r\d)"', answer) == [b"r0", b"r1", b"r2", b"r3", b"r4"]
    assert answer.count(b"HTTP/1.1 200 ") == 5
    assert is_problem(answer[answer.rindex(b"HTTP/1.1 ") :], 408, "head")


@pytest.mark.parametrize("cut", [0, 30, 150, -5], ids=["whole", "in the line", "in a header", "in the body"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upgrade_request_keeps_its_body(connection: socket.socket, cut: int, chunked: bool) -> None:
    """Java's HTTP client sends these headers in case the server supports HTTP/2."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG) if chunked else PNG
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(PNG)}"
    request = head(*upgrade, "Upgrade: h2c", framing) + body
    connection.sendall(request[:cut])
    time.sleep(TIMEOUT / 4)
    connection.sendall(request[cut:] + request)
    answers = one_response(connection)
    if answers.count(b"HTTP/1.1 ") == 1:
        answers += one_response(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 2


def test_an_upgrade_request_with_a_bad_url_is_refused_once(connection: socket.socket) -> None:
    connection.sendall(
        b"GET http:// HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET / HTTP/1.1\r\n"
    )
    assert is_problem(receive_to_end(connection), 400, "Invalid HTTP request received.")


@pytest.mark.parametrize(
    ("junk", "status"), [(b"\x00junk\r\n\r\n", 400), (b"GET http:// HTTP/1.1\r\n\r\n", 400), (b"x" * HEAD_BYTES, 400)]
)
def test_a_request_is_served_although_junk_follows_it(connection: socket.socket, junk: bytes, status: int) -> None:
    connection.sendall(head(length=len(PNG)) + PNG + head(length=len(PNG)) + PNG + junk)
    answers = receive_to_end(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"%d" % status]
    assert is_problem(answers[answers.rindex(b"HTTP/1.1 ") :], status, "")


def test_a_request_is_served_although_a_bad_chunked_body_follows_it(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG + head("Transfer-Encoding: chunked") + b"no chunk\r\n")
    answers = receive_to_end(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400"]
    assert is_problem(answers[answers.rindex(b"HTTP/1.1 ") :], 400, "Invalid HTTP request received.")


def test_a_bad_url_is_refused_on_a_keep_alive_connection(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG)
    assert one_response(connection).startswith(b"HTTP/1.1 200 ")
    connection.sendall(b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n")
    assert is_problem(receive_to_end(connection), 400, "Invalid HTTP request received.")


def test_endless_requests_are_not_all_kept_in_memory(connection: socket.socket, server: Running) -> None:
    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])  # KiB

    def count_answers() -> int:
        return receive_to_end(connection).count(b"HTTP/1.1 200 ")

    requests = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 5000
    before, end = resident(), time.monotonic() + 3
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(count_answers)
        connection.settimeout(1)
        with suppress(TimeoutError):  # the server reads more slowly than this loop sends
            while time.monotonic() < end:
                connection.sendall(requests)
        grown = resident() - before
        connection.shutdown(socket.SHUT_RDWR)
        assert answers.result() > 0
    assert grown < 60_000


def test_thousands_of_requests_in_one_segment_are_all_served_in_order(connection: socket.socket) -> None:
    many = b"".join(b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(2000))
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(connection.sendall, many + head(length=len(PNG)) + PNG)
        answers = b""
        while b"HTTP/1.1 200 " not in answers:
            part = connection.recv(2**20)
            assert part
            answers += part
        sent.result()
    asked = [int(number) for number in re.findall(rb"/nothing/(\d+) does not exist;", answers)]
    assert asked == list(range(2000))


def test_only_a_few_responses_are_rendered_for_a_client_that_does_not_read(server: Running) -> None:
    """The socket buffers of both sides hold about 10 documents of 75 KB here, and could hold 80 elsewhere."""

    def rendered() -> int:
        return server.log.read_text().count("GET /openapi.json 200")

    before = rendered()
    connections = [request_many(server, 4096) for _ in range(10)]
    # The log is written later, and a busy machine renders slowly.
    wait_until(lambda: rendered() >= before + len(connections))
    time.sleep(TIMEOUT)
    for connection in connections:
        connection.close()
    assert httpx2.get(f"{server.url}/health/live").status_code == 200
    time.sleep(0.1)
    assert rendered() - before <= 20 * len(connections)


def request_many(server: Running, receive_buffer: int) -> socket.socket:
    """Connect with a receive buffer of some bytes, and request more than the systems of both sides buffer."""
    url = httpx2.URL(server.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect((url.host, url.port or 0))
    connection.sendall(MANY * b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def test_a_client_that_reads_nothing_is_disconnected(server: Running) -> None:
    def disconnects() -> int:
        return server.log.read_text().count("nothing more could be sent for 0.5 s")

    time.sleep(2 * TIMEOUT)  # clients of other tests are disconnected by then
    before = disconnects()
    with request_many(server, 4096):
        wait_until(lambda: disconnects() != before)


def read_slowly(server: Running) -> tuple[int, float, float]:
    """Return the number of responses received, the elapsed seconds, and the longest time between two reads."""
    answers, longest, tail = 0, 0.0, b""
    with request_many(server, 2**18) as connection:
        start = last = time.monotonic()
        while answers < MANY and (part := connection.recv(65536)):
            answers += (tail + part).count(STATUS)
            tail = part[1 - len(STATUS) :]
            time.sleep(0.008)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        return answers, last - start, longest


def test_a_slow_reader_receives_all_responses(server: Running) -> None:
    for _ in range(10):
        answers, taken, longest = read_slowly(server)
        if answers == MANY or longest < TIMEOUT / 2:
            break  # otherwise this process itself was delayed for too long
    assert answers == MANY
    assert taken > 2 * TIMEOUT
