"""Clients that half-close the connection after the request, and clients that disconnect."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.service.process import Running
from tests.service.scripted import HANG, picture
from tests.service.transport.apps import read_to_end, statuses
from tests.service.transport.proxies import PATIENCE, require_program
from tests.service.transport.sockets import connect
from tests.service.transport.test_draining import Gated, gated
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def post(red: int, version: bytes = b"1.1") -> bytes:
    body = picture(red)
    return b"POST /v1/classify HTTP/%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (version, len(body), body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("server"), "--threads", "1", "--keep-alive-seconds", "60") as found:
        yield found
    assert "Traceback" not in found.server.log.read_text()


@pytest.fixture
def server(running: Gated) -> Running:
    running.gate.unlink(missing_ok=True)
    running.gate.with_suffix(".hanging").unlink(missing_ok=True)
    return running.server


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET, [200]),
        (post(1), [200]),
        (post(1, b"1.0"), [200]),
        (post(1) + GET + post(2), [200, 200, 200]),
        (GET + post(1)[:-5], [200]),  # an incomplete request is not served and does not affect the others
        (GET + GET[:20], [200]),
        (post(1) + b"no HTTP\r\n\r\n", [200, 400]),
        (post(1)[:-5], []),
        (GET[:20], []),
        (b"", []),
    ],
    ids=[
        "GET",
        "POST",
        "1.0",
        "three",
        "cut body",
        "cut head",
        "junk",
        "only a cut body",
        "only a cut head",
        "nothing",
    ],
)
def test_complete_requests_are_served_before_the_connection_is_closed(
    server: Running, request_: bytes, expected: list[int]
) -> None:
    with connect(server) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        assert statuses(read_to_end(connection)) == expected
        assert time.monotonic() - start < PATIENCE  # closed immediately, not after a timeout


def test_a_connection_may_be_half_closed_some_time_after_the_request(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(post(1))
        time.sleep(0.3)  # kept alive until now
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_to_end(connection)) == [200]


def test_netcat_receives_the_response(server: Running) -> None:
    url = httpx2.URL(server.url)
    command = [require_program("nc"), "-N", url.host, str(url.port)]
    ended = subprocess.run(command, input=post(1), capture_output=True, timeout=PATIENCE, check=True)
    assert statuses(ended.stdout) == [200]


def test_a_disconnect_is_detected_while_the_request_waits(running: Gated, server: Running) -> None:
    with connect(server) as hanging, connect(server) as leaving:
        hanging.sendall(post(HANG))
        running.until_hanging()
        leaving.sendall(post(7).replace(b"Host: x", b"Host: x\r\nX-Request-Id: leaving", 1))
        leaving.close()
        wait_until(lambda: re.search(r"POST /v1/classify 499 .* leaving", server.log.read_text()))
        running.gate.touch()
        hanging.shutdown(socket.SHUT_WR)
        assert statuses(read_to_end(hanging))[-1] == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        post(1).replace(b"Host: x", b"Host: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c", 1),
        post(1, b"1.0").replace(b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c", 1),
    ],
    ids=["close", "two headers", "1.0", "POST", "POST 1.0"],
)
def test_an_upgrade_request_with_connection_close_is_answered_immediately(server: Running, request_: bytes) -> None:
    with connect(server) as connection:
        start = time.monotonic()
        connection.sendall(request_ + GET)  # not served, because the connection is to be closed
        assert statuses(read_to_end(connection)) == [200]
        assert time.monotonic() - start < PATIENCE
