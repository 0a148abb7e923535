"""Clients that end their direction of the connection after the request, and clients that leave."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.service.process import Running
from tests.service.scripted import HANG, picture
from tests.service.transport.apps import all_of
from tests.service.transport.proxies import PATIENCE, needed
from tests.service.transport.test_draining import Gated, gated

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


def connect(server: Running) -> socket.socket:
    url = httpx2.URL(server.url)
    return socket.create_connection((url.host, url.port or 0), timeout=PATIENCE)


def statuses(answers: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d+) ", answers)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (GET, [200]),
        (post(1), [200]),
        (post(1, b"1.0"), [200]),
        (post(1) + GET + post(2), [200, 200, 200]),
        (GET + post(1)[:-5], [200]),  # what is not complete is not answered, and does not stop the rest
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
def test_what_came_whole_is_answered_before_the_connection_is_closed(
    server: Running, request_: bytes, expected: list[int]
) -> None:
    with connect(server) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        assert statuses(all_of(connection)) == expected
        assert time.monotonic() - start < PATIENCE  # closed, and not when some time is over


def test_the_end_may_come_after_the_request(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(post(1))
        time.sleep(0.3)  # kept alive until now
        connection.shutdown(socket.SHUT_WR)
        assert statuses(all_of(connection)) == [200]


def test_netcat_gets_its_answer(server: Running) -> None:
    url = httpx2.URL(server.url)
    command = [needed("nc"), "-N", url.host, str(url.port)]
    ended = subprocess.run(command, input=post(1), capture_output=True, timeout=PATIENCE, check=True)
    assert statuses(ended.stdout) == [200]


def test_a_client_that_left_is_noticed_while_it_waits(running: Gated, server: Running) -> None:
    with connect(server) as hanging, connect(server) as leaving:
        hanging.sendall(post(HANG))
        running.until_hanging()
        leaving.sendall(post(7).replace(b"Host: x", b"Host: x\r\nX-Request-Id: leaving", 1))
        leaving.close()
        end = time.monotonic() + PATIENCE
        while not re.search(r"POST /v1/classify 499 .* leaving", server.log.read_text()):
            assert time.monotonic() < end
            time.sleep(0.05)
        running.gate.touch()
        hanging.shutdown(socket.SHUT_WR)
        assert statuses(all_of(hanging))[-1] == 200


@pytest.mark.parametrize(
    "wish",
    [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        post(1).replace(b"Host: x", b"Host: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c", 1),
        post(1, b"1.0").replace(b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c", 1),
    ],
    ids=["close", "two headers", "1.0", "POST", "POST 1.0"],
)
def test_a_wish_to_upgrade_on_a_connection_that_is_to_be_closed_is_answered_at_once(
    server: Running, wish: bytes
) -> None:
    with connect(server) as connection:
        start = time.monotonic()
        connection.sendall(wish + GET)  # which is too late: the connection was to be closed
        assert statuses(all_of(connection)) == [200]
        assert time.monotonic() - start < PATIENCE
