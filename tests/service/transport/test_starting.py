"""Responses of a server while it loads."""

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx2
import pytest

from service.transport.starting import answering

ANSWERS = {
    ("GET", "/health/live"): 200,
    ("HEAD", "/ml/health/live?probe=1"): 200,
    ("POST", "/health/live"): 503,
    ("GET", "/health/ready"): 503,
    ("POST", "/v1/classify"): 503,
    ("GET", "/v2/health/ready"): 503,
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        yield listener


@pytest.fixture
def url(listener: socket.socket) -> Iterator[str]:
    with answering(listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(("request_line", "status"), ANSWERS.items())
def test_a_loading_server_is_live_but_not_ready(url: str, request_line: tuple[str, str], status: int) -> None:
    method, path = request_line
    answer = httpx2.request(method, url + path, content=b"x" * 100_000 if method == "POST" else None)
    assert answer.status_code == status
    assert answer.headers["connection"] == "close"
    if method == "HEAD":
        assert answer.content == b""
    elif status == 200:
        assert answer.json() == {"status": "live"}
    else:
        assert answer.headers["retry-after"] == "5"
        text = answer.json()["error"] if path.startswith("/v2") else answer.json()["detail"]
        assert text.startswith("the server is loading, and may be building engines")


def test_silent_or_disconnected_clients_do_not_delay_others(listener: socket.socket, url: str) -> None:
    with socket.create_connection(listener.getsockname()), socket.create_connection(listener.getsockname()) as gone:
        gone.close()
        assert httpx2.get(f"{url}/health/live", timeout=20).status_code == 200


def test_a_connection_after_loading_is_accepted_by_the_server(listener: socket.socket) -> None:
    with answering(listener):
        pass
    assert not any(thread.name == "starting" for thread in threading.enumerate())
    host, port = listener.getsockname()
    client = HTTPConnection(host, port, timeout=20)
    client.request("GET", "/health/ready")
    accepted, _ = listener.accept()
    assert accepted.recv(100).startswith(b"GET /health/ready")
    accepted.close()
    client.close()
