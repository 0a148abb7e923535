"""nginx in front of the service: TLS, keep-alive connections, a body limit, and blocked operator routes."""

import getpass
import http.client
import http.server
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.engines import free_port
from service.settings import Settings
from tests.deploy.programs import ROOT, run

pytestmark = pytest.mark.slow

CONFIG = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()


class Upstream(http.server.ThreadingHTTPServer):
    """Fake service that records requests and counts connections."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.seen: list[tuple[str, dict[str, str]]] = []

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, dict(self.headers.items())))
        self.send_response(200)
        self.send_header("Content-Length", str(len(str(len(body)))))
        self.end_headers()
        self.wfile.write(str(len(body)).encode())

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Write nothing."""


class Gateway:
    """Running nginx with the shipped configuration, except for host names, ports and paths of the container."""

    def __init__(self, port: int, upstream: Upstream, certificate: Path) -> None:
        self.upstream = upstream
        self._port = port
        self._context = ssl.create_default_context(cafile=str(certificate))

    def post(self, path: str, body: bytes = b"") -> int:
        """Send a request over TLS on a new connection, and return its status."""
        connection = http.client.HTTPSConnection("localhost", self._port, timeout=20, context=self._context)
        try:
            connection.request("POST", path, body, {"X-Forwarded-Prefix": "/elsewhere"})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("nginx")
    certificate, port = directory / "tls_certificate", free_port()
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", directory / "tls_key")
    made = run("openssl", "req", "-x509", *key, *subject, "-days", "2", "-out", certificate)
    assert made.returncode == 0, made.stderr
    with Upstream() as upstream:
        text = CONFIG.replace("cpu:8000", f"127.0.0.1:{upstream.server_port}").replace("8443", f"127.0.0.1:{port}")
        text = re.sub(r"(?<= )/(run/secrets|tmp|dev)/", f"{directory}/", text)
        (directory / "nginx.conf").write_text(text)
        command = ["nginx", "-e", str(directory / "error"), "-c", str(directory / "nginx.conf")]
        tested = run(*command, "-t")
        assert tested.returncode == 0, tested.stderr
        assert "[warn]" not in tested.stderr
        thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        process = subprocess.Popen([*command, "-g", f"daemon off; user {getpass.getuser()};"])
        try:
            _wait(port)
            yield Gateway(port, upstream, certificate)
        finally:
            process.terminate()
            process.wait(20)
            upstream.shutdown()
            thread.join()


def test_requests_reach_the_service_over_few_connections(gateway: Gateway) -> None:
    gateway.upstream.seen.clear()
    gateway.upstream.connections = 0
    for _ in range(20):
        assert gateway.post("/v1/classify?model=digits", b"image") == 200
    assert [path for path, _ in gateway.upstream.seen] == ["/v1/classify?model=digits"] * 20
    assert gateway.upstream.connections <= 4  # one for each nginx process


def test_a_clients_prefix_header_is_removed_and_the_host_is_kept(gateway: Gateway) -> None:
    gateway.upstream.seen.clear()
    gateway.post("/docs")
    (_, headers) = gateway.upstream.seen[0]
    assert "X-Forwarded-Prefix" not in headers
    assert headers["Host"].startswith("localhost:")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "//metrics",
        "/%6detrics",
        "/v1/../metrics",
        "/v2/repository/index",
        "/v2/repository/models/digits/load",
        "/v2//repository/models/digits/unload",
        "/v2/%72epository/models/digits/unload",
    ],
)
def test_operator_routes_are_blocked(gateway: Gateway, path: str) -> None:
    gateway.upstream.seen.clear()
    assert gateway.post(path) == 404
    assert gateway.upstream.seen == []


def test_bodies_up_to_the_services_limit_are_forwarded_and_larger_ones_refused(gateway: Gateway) -> None:
    limit: int = Settings.model_fields["max_body_bytes"].default
    assert gateway.post("/v1/classify", bytes(limit)) == 200
    gateway.upstream.seen.clear()
    assert gateway.post("/v1/classify", bytes(limit + 1)) == 413
    assert gateway.upstream.seen == []


def test_nginx_closes_idle_connections_before_the_service_does() -> None:
    seconds = re.search(r"keepalive_timeout (\d+)s;", CONFIG)
    assert seconds is not None
    assert int(seconds[1]) < Settings.model_fields["keep_alive_seconds"].default


def _wait(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("nginx did not start")
