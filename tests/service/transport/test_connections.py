"""Connection limit: connections over it are refused, others are served, and the log reports it once."""

import http.client
import logging
import re
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from service.transport.connections import MOST_REFUSED, RESERVE, Connections, open_descriptors
from tests.service.pictures import encode, random_pixels
from tests.service.process import MODULE, Running, serving
from tests.service.transport.proxies import PATIENCE
from tests.service.transport.sockets import connect
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

PNG = encode(random_pixels())
LIMIT = 10
PAGE = "https://page.example"


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = ["--port", "0", "--repository", str(repository), "--threads", "1", "--cors-origins", PAGE]
    with serving(tmp_path_factory.mktemp("server"), *flags, "--max-connections", str(LIMIT)) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def wait_until_served(server: Running) -> None:
    """Wait until the server has released closed connections."""
    wait_until(lambda: httpx2.get(f"{server.url}/health/live").status_code == 200)


def status_of(connection: http.client.HTTPConnection) -> int:
    connection.request("POST", "/v1/classify", PNG)
    with connection.getresponse() as response:
        response.read()
        return response.status


def kept_connections(server: Running, stack: ExitStack) -> list[http.client.HTTPConnection]:
    """Return as many open connections as are allowed, each of which has served a request."""
    address = server.url.removeprefix("http://")
    kept = [http.client.HTTPConnection(address, timeout=PATIENCE) for _ in range(LIMIT)]
    for connection in kept:
        stack.callback(connection.close)
        assert status_of(connection) == 200
    return kept


def test_a_connection_over_the_limit_is_refused_and_others_are_served(server: Running) -> None:
    wait_until_served(server)
    with ExitStack() as stack:
        kept = kept_connections(server, stack)
        headers = {"Origin": PAGE, "Content-Type": "text/plain"}
        for path, size in (("/v1/classify", 3_000_000), ("/health/live", 0), ("/v2/models/x/infer", 100_000)):
            refused = httpx2.post(server.url + path, content=bytes(size), headers=headers)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.headers["Connection"] == "close"
            assert refused.headers["Access-Control-Allow-Origin"] == PAGE
            assert set(refused.json()) == (
                {"error"} if path.startswith("/v2") else {*["type", "title", "status", "detail", "id"]}
            )
            assert "MAX_CONNECTIONS" in refused.text
        with connect(server) as silent:
            start = time.monotonic()
            assert silent.recv(1) == b""
            assert time.monotonic() - start < PATIENCE  # not the request timeout, which is 30 s
        assert [status_of(connection) for connection in kept] == [200] * LIMIT
    wait_until_served(server)
    assert (
        float(
            re.findall(r"^posbake_connections_refused_total (\S+)", httpx2.get(f"{server.url}/metrics").text, re.M)[0]
        )
        >= 4
    )
    assert server.log.read_text().count("connections are refused: 10 connections are open, the most that MAX_CONN") == 1


def test_a_flood_of_connections_is_refused_while_others_are_served(server: Running) -> None:
    wait_until_served(server)
    with ExitStack() as stack:
        kept = kept_connections(server, stack)
        flood = [stack.enter_context(connect(server)) for _ in range(5 * MOST_REFUSED)]
        assert [status_of(connection) for connection in kept] == [200] * LIMIT
        for connection in flood[-10:]:  # the server does not read their requests
            assert connection.recv(65536).startswith(b"HTTP/1.1 503 ")
    wait_until_served(server)


def test_connections_are_refused_and_logged_when_file_descriptors_run_out(repository: Path, tmp_path: Path) -> None:
    """`ulimit -n 120` allows fewer connections than MAX_CONNECTIONS."""
    flags = ("--port", "0", "--repository", str(repository), "--threads", "1", "--keep-alive-seconds", "60")
    command = ("sh", "-c", 'ulimit -n 120 && exec "$@"', "sh", *MODULE)
    with serving(tmp_path, *flags, command=command) as server, ExitStack() as stack:
        flood = [stack.enter_context(connect(server)) for _ in range(150)]
        first = flood[0]
        first.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        refused = flood[-1].recv(65536)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"ulimit -n" in refused
        for connection in flood[1:]:
            connection.close()
        wait_until_served(server)
        assert httpx2.post(f"{server.url}/v1/classify", content=PNG).status_code == 200
    log = server.log.read_text()  # complete only after the end, because a thread writes it
    assert log.count("MAX_CONNECTIONS is 4096, but this process may have only 120 files and connections open") == 1
    assert log.count("descriptors are in use, nearly all that the system allows") == 1
    assert "Traceback" not in log


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_connection_is_refused_over_the_limit_or_near_the_descriptor_limit(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    connections = Connections(5, 1000, clock)
    assert connections.refusal(5, 20) is None
    assert connections.refusal(5, 1000 - RESERVE - 1) is None
    assert connections.refused == 0
    assert "MAX_CONNECTIONS" in str(connections.refusal(6, 20))
    assert "ulimit -n" in str(connections.refusal(5, 1000 - RESERVE))
    assert connections.refused == 2
    assert len(caplog.records) == 1
    clock.now += 61
    assert connections.refusal(6, 20) is not None
    assert len(caplog.records) == 2


def test_the_soft_descriptor_limit_is_raised_as_far_as_needed(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        with caplog.at_level(logging.WARNING):
            assert open_descriptors(100) == 512
            assert (
                open_descriptors(1000) == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1000 + RESERVE + MOST_REFUSED
            )
            assert caplog.records == []
            assert open_descriptors(2**31) == hard
        assert f"MAX_CONNECTIONS is {2**31}, but this process may have only {hard} files" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
