"""Health check of the image."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.engines import free_port
from deploy.health import main


@contextmanager
def answering(status: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Run a server that responds to every request with this status, and yield its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    class Server(http.server.HTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with Server((host, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1), (404, 1), (302, 1)])
def test_only_a_ready_service_is_healthy(
    status: int, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status) as port:
        monkeypatch.setenv("POSBAKE_PORT", str(port))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")  # must not be used
        assert main() == expected
    assert capsys.readouterr().out == "/health/ready\n"


@pytest.mark.parametrize(
    ("host", "listens"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("127.0.0.2", "127.0.0.2"), ("", "127.0.0.1")],
)
def test_the_address_of_the_service_is_asked(host: str, listens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, listens) as port:
        monkeypatch.setenv("POSBAKE_PORT", str(port))
        monkeypatch.setenv("POSBAKE_HOST", host)
        assert main() == 0


def test_a_service_that_does_not_listen_is_unhealthy_and_the_reason_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("POSBAKE_PORT", str(port))
    assert main() == 1
    assert capsys.readouterr().out == f"port {port}: ConnectionRefusedError(111, 'Connection refused')\n"
