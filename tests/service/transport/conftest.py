"""Server with short limits, and a connection to it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.service.process import Running, serving
from tests.service.transport.sockets import BODY_BYTES, HEAD_BYTES, KEEP_ALIVE, PNG, TIMEOUT, connect


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Server with the limits of `tests.service.transport.sockets`."""
    flags = ["--port", "0", "--repository", str(repository), "--threads", "1", "--max-body-bytes", str(BODY_BYTES)]
    flags += ["--request-timeout", str(TIMEOUT), "--keep-alive-seconds", str(KEEP_ALIVE)]
    with serving(tmp_path_factory.mktemp("server"), *flags, "--max-header-bytes", str(HEAD_BYTES)) as running:
        yield running
        assert httpx2.post(f"{running.url}/v1/classify", content=PNG).status_code == 200
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def connection(server: Running) -> Iterator[socket.socket]:
    with connect(server) as connection:
        yield connection
