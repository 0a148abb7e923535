"""Shutdown of a server process: accepted requests are completed, later ones are refused."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import uvicorn

from service.__main__ import _DrainingServer
from service.transport.draining import Lifecycle
from tests.service.artifacts import add_artifact
from tests.service.process import Running, serving
from tests.service.scripted import HANG, SLOW, picture
from tests.service.transport.sockets import connect
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Gated:
    """Server whose backend hangs on pictures of HANG until the gate is opened."""

    server: Running
    gate: Path

    def until_hanging(self) -> None:
        wait_until(self.gate.with_suffix(".hanging").exists)


@contextmanager
def gated(tmp_path: Path, *flags: str) -> Iterator[Gated]:
    add_artifact(tmp_path / "repository")
    gate = tmp_path / "gate"
    command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.service.scripted", str(gate))
    flags = ("--port", "0", "--repository", str(tmp_path / "repository"), *flags)
    with serving(tmp_path, *flags, command=command) as server:
        yield Gated(server, gate)


def post(server: Running, red: int) -> httpx2.Response:
    return httpx2.post(f"{server.url}/v1/classify", content=picture(red), timeout=30)


def send(server: Running, red: int) -> socket.socket:
    """Send a complete request, and return the connection without waiting for the response."""
    body, connection = picture(red), connect(server)
    connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def test_sigterm_completes_accepted_requests_and_refuses_new_ones_with_retry_after(tmp_path: Path) -> None:
    with gated(tmp_path) as running:
        server = running.server
        connections = [send(server, HANG)]
        running.until_hanging()
        connections += [send(server, red) for red in range(12)]
        for _ in range(2):  # the server reads connections in turn: by the second response it has read all of the above
            assert httpx2.get(f"{server.url}/health/ready").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx2.get(f"{server.url}/health/ready").status_code == 503)
        assert httpx2.get(f"{server.url}/health/live").status_code == 200
        refused = post(server, 1)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["title"] == "Not ready"
        running.gate.touch()
        for connection in connections:
            with connection:
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(10) == 0
    log = server.log.read_text()
    assert "accepted requests" in log
    assert "Traceback" not in log


def test_sigterm_under_load_completes_all_accepted_requests(tmp_path: Path) -> None:
    def post_until_stopped() -> list[int]:
        statuses = []
        with httpx2.Client(base_url=server.url, timeout=30) as client:
            while True:
                try:
                    statuses.append(client.post("/v1/classify", content=picture(1)).status_code)
                except (httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                    return statuses  # the port is closed: the server has ended
                if statuses[-1] != 200:
                    return statuses

    with gated(tmp_path) as running, ThreadPoolExecutor(16) as pool:
        server = running.server
        clients: list[Future[list[int]]] = [pool.submit(post_until_stopped) for _ in range(16)]
        wait_until(lambda: server.log.read_text().count(" 200 ") >= 100)
        server.process.send_signal(signal.SIGTERM)
        statuses = [client.result() for client in clients]
        assert server.process.wait(10) == 0
    answered = sum(found.count(200) for found in statuses)
    assert {status for found in statuses for status in found} <= {200, 503}
    log = server.log.read_text()
    assert answered == log.count("POST /v1/classify 200 ")  # each response that the server logged has arrived
    assert "POST /v1/classify 5" not in log.replace("POST /v1/classify 503 ", "")


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]], ids=["SIGTERM", "terminal"])
def test_a_drain_over_its_time_limit_ends_with_status_0(tmp_path: Path, numbers: list[int]) -> None:
    with gated(tmp_path, "--drain-seconds", "0.5") as running, ThreadPoolExecutor(1) as pool:
        late = pool.submit(post, running.server, HANG)
        running.until_hanging()
        for number in numbers:  # a closing terminal may send SIGHUP twice
            running.server.process.send_signal(number)
            time.sleep(0.05)
        assert running.server.process.wait(15) == 0
        answer = late.result()
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert "stopped before the request was answered" in answer.json()["detail"]


def test_a_hanging_decode_does_not_delay_shutdown_or_change_its_status(tmp_path: Path) -> None:
    with gated(tmp_path, "--decode-timeout-ms", "200") as running:
        assert post(running.server, SLOW).status_code == 504
        assert post(running.server, 1).status_code == 200
        running.server.process.send_signal(signal.SIGTERM)
        assert running.server.process.wait(15) == 0
    log = running.server.log.read_text()
    assert "abandoned after 0.2 s: the decode of colours/mean/1" in log
    assert "stopping: " in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("stop", "timeout_ms"), [(signal.SIGTERM, 300), (signal.SIGINT, 60_000)], ids=["abandoned", "not yet abandoned"]
)
def test_an_endless_loop_in_a_graph_does_not_change_the_exit_status(
    tmp_path: Path, stop: signal.Signals, timeout_ms: int
) -> None:
    """ONNX Runtime's threads run C++ code, where finalisation of the interpreter would end in SIGABRT.

    OpenVINO refuses graphs with loops.
    """
    add_artifact(tmp_path / "repository", logits="endless")
    place = ("--port", "0", "--repository", str(tmp_path / "repository"), "--backend", "onnxruntime")
    limits = ("--threads", "1", "--drain-seconds", "0.5", "--backend-timeout-ms", str(timeout_ms))
    with serving(tmp_path, *place, *limits) as server:
        assert post(server, 0).status_code == 200
        with send(server, 99) as connection:
            if timeout_ms < 60_000:
                assert connection.recv(65536).startswith(b"HTTP/1.1 503 ")
            else:
                assert httpx2.get(f"{server.url}/health/live").status_code == 200  # the request above was read first
            server.process.send_signal(stop)
            assert server.process.wait(15) == 0
    log = server.log.read_text()
    assert "stopping: " in log
    assert "terminate called" not in log


def test_a_backend_that_hangs_while_it_loads_does_not_delay_shutdown(tmp_path: Path) -> None:
    with gated(tmp_path, "--reload-seconds", "0.1") as running:
        add_artifact(tmp_path / "repository", variant="stuck")
        running.until_hanging()
        assert post(running.server, 1).status_code == 200
        running.server.process.send_signal(signal.SIGTERM)
        assert running.server.process.wait(12) == 0  # the backend would wait for 20 s
    assert "Traceback" not in running.server.log.read_text()


def test_a_lifecycle_is_over_when_all_accepted_requests_have_completed() -> None:
    lifecycle = Lifecycle(drain_seconds=1000)
    assert lifecycle.enter()
    assert not lifecycle.over()
    lifecycle.drain()
    assert lifecycle.draining
    assert not lifecycle.enter()
    assert not lifecycle.over()
    lifecycle.leave()
    assert lifecycle.over()


def test_a_lifecycle_is_over_after_its_time_limit() -> None:
    lifecycle = Lifecycle(drain_seconds=1e-9)
    assert lifecycle.enter()
    assert not lifecycle.over()
    lifecycle.drain()
    assert lifecycle.over()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_ends_the_drain_except_that_of_a_closing_terminal(second: signal.Signals) -> None:
    lifecycle = Lifecycle(drain_seconds=1000)
    server = _DrainingServer(uvicorn.Config("unused"), lifecycle, None)
    server.handle_exit(signal.SIGHUP, None)
    assert lifecycle.draining
    assert not server.should_exit
    server.handle_exit(second, None)
    assert server.should_exit == (second != signal.SIGHUP)
