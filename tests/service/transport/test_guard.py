"""Connections of clients that send too slowly, too much, or what is not HTTP; over sockets, against a real process."""

import http.client
import re
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.service.pictures import encode, random_pixels
from tests.service.process import Running, serving

pytestmark = pytest.mark.slow

PNG = encode(random_pixels())
TIMEOUT, KEEP_ALIVE, HEAD_BYTES, BODY_BYTES = 0.5, 1, 4096, 300_000
PATIENCE = 15
"""Seconds until a test fails: machines that run tests are busy."""
SOONEST = 0.9 * TIMEOUT
"""A test's clock starts after the server's."""


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = ["--port", "0", "--repository", str(repository), "--threads", "1", "--max-body-bytes", str(BODY_BYTES)]
    flags += ["--request-timeout", str(TIMEOUT), "--keep-alive-seconds", str(KEEP_ALIVE)]
    with serving(tmp_path_factory.mktemp("server"), *flags, "--max-header-bytes", str(HEAD_BYTES)) as running:
        yield running
        assert httpx2.post(f"{running.url}/v1/classify", content=PNG).status_code == 200
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def connection(server: Running) -> Iterator[socket.socket]:
    url = httpx2.URL(server.url)
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
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


def test_what_comes_in_time_is_answered_however_it_is_cut(connection: socket.socket) -> None:
    request = head("X-Trace: 1", length=len(PNG)) + PNG
    for parts in (1, 2, 5, 40):
        size = -(-len(request) // parts)
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
            time.sleep(TIMEOUT / 3 / parts)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(TIMEOUT / 2)  # the deadline of one request is not that of the next


def test_a_request_to_upgrade_is_answered_as_if_it_did_not_ask(connection: socket.socket) -> None:
    connection.sendall(head("Connection: Upgrade", "Upgrade: websocket", path="/v1/models", length=0))
    assert one_answer(connection).startswith(b"HTTP/1.1 405 ")
    assert drip(connection, b"\r\nx" * 1000) < PATIENCE


def test_a_keep_alive_connection_may_rest_longer_than_a_request_may_take(connection: socket.socket) -> None:
    for pause in (TIMEOUT * 1.4, 0):
        connection.sendall(head(length=len(PNG)) + PNG)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(pause)
    start = time.monotonic()
    assert received(connection) == b""
    assert time.monotonic() - start >= KEEP_ALIVE * 0.9


def test_pipelined_requests_are_answered_in_order(connection: socket.socket) -> None:
    requests = [head(f"X-Request-Id: r{number}", length=len(PNG)) + PNG for number in range(5)]
    connection.sendall(b"".join(requests) + requests[0][:30])
    answer = received(connection)  # until the sixth, which never comes, is over time
    assert re.findall(rb'"id":"(r\d)"', answer) == [b"r0", b"r1", b"r2", b"r3", b"r4"]
    assert answer.count(b"HTTP/1.1 200 ") == 5
    assert is_problem(answer[answer.rindex(b"HTTP/1.1 ") :], 408, "head")


def test_a_large_head_is_refused_whole_or_in_parts(connection: socket.socket, server: Running) -> None:
    large = head(f"X-Large: {'x' * HEAD_BYTES}")
    connection.sendall(large)
    assert is_problem(received(connection), 431, f"more than the {HEAD_BYTES} bytes allowed")
    name, port = connection.getpeername()
    for request in (head(path="/" + "x" * HEAD_BYTES), head(*[f"X-{number}: 1" for number in range(HEAD_BYTES // 9)])):
        with socket.create_connection((name, port), timeout=PATIENCE) as other:
            other.sendall(request)
            assert is_problem(received(other), 431, "allowed")
    assert httpx2.get(f"{server.url}/health/live", headers={"X-Large": "x" * (HEAD_BYTES - 500)}).status_code == 200


def test_a_head_without_end_is_refused_once_it_is_too_large(connection: socket.socket) -> None:
    connection.sendall(head()[:-2] + b"X-Endless: ")
    sent = sent_until_closed(connection, b"x" * 1000)
    assert sent < 8 * 2**20  # what the system's buffers hold, not what the server does
    answer = received(connection)
    assert answer == b"" or is_problem(answer, 431, "allowed")  # it may be lost where the connection was reset


@pytest.mark.parametrize("junk", [b"1;", b"0\r\nX-Endless: "], ids=["chunk extension", "trailer"])
def test_junk_without_end_around_a_chunked_body_is_refused(connection: socket.socket, junk: bytes) -> None:
    connection.sendall(head("Transfer-Encoding: chunked") + junk)
    assert sent_until_closed(connection, b"x" * 1000, pause=0.001) < 8 * 2**20


def test_a_trailer_is_no_header(connection: socket.socket) -> None:
    body = b"%x\r\n%s\r\n0\r\nX-Request-Id: trailing\r\n\r\n" % (len(PNG), PNG)
    connection.sendall(head("Transfer-Encoding: chunked", "Trailer: X-Request-Id") + body)
    answer = one_answer(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"trailing" not in answer


def test_a_chunked_body_without_end_is_refused_at_the_limit_and_ended_when_it_is_over_time(
    connection: socket.socket,
) -> None:
    connection.sendall(head("Transfer-Encoding: chunked"))
    start = time.monotonic()
    assert sent_until_closed(connection, b"%x\r\n%s\r\n" % (50_000, bytes(50_000)), pause=0.001) > BODY_BYTES
    assert time.monotonic() - start >= SOONEST
    assert b"HTTP/1.1 413 " in received(connection)


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


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / SPDY/9\r\n\r\n", b"GET\r\n\r\n"])
def test_what_is_not_http_is_told_so(connection: socket.socket, request_: bytes) -> None:
    connection.sendall(request_)
    assert is_problem(received(connection), 400, "Invalid HTTP request received. Expected HTTP/1.1")


def test_slow_clients_do_not_keep_others_waiting(server: Running) -> None:
    url = httpx2.URL(server.url)

    def attack(_: int) -> bytes:
        with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as slow:
            drip(slow, head(f"X-Slow: {'x' * 2000}"), pause=0.1)
            return received(slow)

    with ThreadPoolExecutor(20) as pool:
        attacks = pool.map(attack, range(20))
        times = []
        for _ in range(10):
            start = time.monotonic()
            assert httpx2.post(f"{server.url}/v1/classify", content=PNG, timeout=PATIENCE).status_code == 200
            times.append(time.monotonic() - start)
        assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in attacks)
    assert sorted(times)[5] < TIMEOUT


@pytest.mark.parametrize("cut", [0, 30, 150, -5], ids=["whole", "in the line", "in a header", "in the body"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_wishes_to_upgrade_keeps_its_body(connection: socket.socket, cut: int, chunked: bool) -> None:
    """Java's own client sends these headers, in case the server speaks HTTP/2."""
    wish = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG) if chunked else PNG
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(PNG)}"
    request = head(*wish, "Upgrade: h2c", framing) + body
    connection.sendall(request[:cut])
    time.sleep(TIMEOUT / 4)
    connection.sendall(request[cut:] + request)
    answers = one_answer(connection)
    if answers.count(b"HTTP/1.1 ") == 1:
        answers += one_answer(connection)
    assert answers.count(b"HTTP/1.1 200 ") == 2


def test_a_wish_to_upgrade_to_a_bad_address_is_refused_once(connection: socket.socket) -> None:
    connection.sendall(
        b"GET http:// HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET / HTTP/1.1\r\n"
    )
    assert is_problem(received(connection), 400, "Invalid HTTP request received.")


@pytest.mark.parametrize(
    ("junk", "status"), [(b"\x00junk\r\n\r\n", 400), (b"GET http:// HTTP/1.1\r\n\r\n", 400), (b"x" * HEAD_BYTES, 400)]
)
def test_what_follows_a_request_does_not_take_its_answer(connection: socket.socket, junk: bytes, status: int) -> None:
    connection.sendall(head(length=len(PNG)) + PNG + head(length=len(PNG)) + PNG + junk)
    answers = received(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"%d" % status]
    assert is_problem(answers[answers.rindex(b"HTTP/1.1 ") :], status, "")


def test_a_body_in_bad_chunks_that_follows_a_request_does_not_take_its_answer(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG + head("Transfer-Encoding: chunked") + b"no chunk\r\n")
    answers = received(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"400"]
    assert is_problem(answers[answers.rindex(b"HTTP/1.1 ") :], 400, "Invalid HTTP request received.")


def test_a_bad_address_is_answered_on_a_connection_in_use_too(connection: socket.socket) -> None:
    connection.sendall(head(length=len(PNG)) + PNG)
    assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
    connection.sendall(b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n")
    assert is_problem(received(connection), 400, "Invalid HTTP request received.")


def test_requests_without_end_are_not_all_held_in_memory(connection: socket.socket, server: Running) -> None:
    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])  # KiB

    def count_answers() -> int:
        return received(connection).count(b"HTTP/1.1 200 ")

    requests = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 5000
    before, end = resident(), time.monotonic() + 3
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(count_answers)
        connection.settimeout(1)
        with suppress(TimeoutError):  # it does not read as fast as this sends
            while time.monotonic() < end:
                connection.sendall(requests)
        grown = resident() - before
        connection.shutdown(socket.SHUT_RDWR)
        assert answers.result() > 0
    assert grown < 60_000


def test_thousands_of_requests_in_one_segment_are_all_answered_in_order(connection: socket.socket) -> None:
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


def test_only_a_few_answers_are_rendered_for_a_client_that_does_not_read(server: Running) -> None:
    """What the systems of both sides keep for a client is 10 documents of 75 KB here, where it could be 80."""

    def made() -> int:
        return server.log.read_text().count("GET /openapi.json 200")

    before = made()
    connections = [asks_for_much(server, 4096) for _ in range(10)]
    end = time.monotonic() + PATIENCE
    while made() < before + len(connections):  # the log is written later, and a busy machine renders slowly
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(TIMEOUT)
    for connection in connections:
        connection.close()
    assert httpx2.get(f"{server.url}/health/live").status_code == 200
    time.sleep(0.1)
    assert made() - before <= 20 * len(connections)


def asks_for_much(server: Running, room: int) -> socket.socket:
    """A connection with so much room for answers, on which more was asked for than systems keep until it is read."""
    url = httpx2.URL(server.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(PATIENCE)
    connection.connect((url.host, url.port or 0))
    connection.sendall(MUCH * b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


MUCH = 200


def test_a_client_that_reads_nothing_is_let_go(server: Running) -> None:
    def let_go() -> int:
        return server.log.read_text().count("nothing more could be sent for 0.5 s")

    time.sleep(2 * TIMEOUT)  # clients of other tests are disconnected by now
    before = let_go()
    with asks_for_much(server, 4096):
        end = time.monotonic() + PATIENCE
        while let_go() == before:
            assert time.monotonic() < end
            time.sleep(0.05)


def read_slowly(server: Running) -> tuple[int, float, float]:
    """Return how many of MUCH answers came, how many seconds that took, and the longest between two reads."""
    answers, longest, tail = 0, 0.0, b""
    with asks_for_much(server, 2**18) as connection:
        start = last = time.monotonic()
        while answers < MUCH and (part := connection.recv(65536)):
            answers += (tail + part).count(STATUS)
            tail = part[1 - len(STATUS) :]
            time.sleep(0.008)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        return answers, last - start, longest


STATUS = b"HTTP/1.1 200 "


def test_a_client_that_reads_slowly_gets_all(server: Running) -> None:
    for _ in range(10):
        answers, taken, longest = read_slowly(server)
        if answers == MUCH or longest < TIMEOUT / 2:
            break  # else this process was kept from reading for too long
    assert answers == MUCH
    assert taken > 2 * TIMEOUT


def test_who_sends_all_before_it_looks_for_an_answer_finds_that_the_body_is_too_large(server: Running) -> None:
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
