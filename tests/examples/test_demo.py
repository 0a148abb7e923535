"""`make demo` ends with its server."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from deploy.engines import free_port
from tests.service.artifacts import add_artifact
from tests.service.process import environment

pytestmark = pytest.mark.slow

SECONDS = 60


@contextmanager
def demo(repository: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "examples.digits.demo", "--repository", str(repository), "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(), process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_another_server_on_the_port_is_not_taken_for_the_demo(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "examples.digits.demo", "--repository", str(tmp_path), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS, env=environment())
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"port {port} is in use; choose another: make demo PORT={port + 1}\n"


@pytest.mark.parametrize("whole_group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_the_demo_and_its_server_with_status_0(
    tmp_path: Path, whole_group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")  # must not be used
    monkeypatch.setenv("no_proxy", "")
    add_artifact(tmp_path)
    port = free_port()
    with demo(tmp_path, port) as process:
        assert process.stdout is not None
        assert any(f"Serving on http://127.0.0.1:{port}" in line for line in process.stdout)
        monkeypatch.undo()
        assert httpx2.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
        if whole_group:  # like a terminal
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        assert process.wait(SECONDS) == 0
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{port}/health/live")


def test_the_demo_ends_with_the_status_of_a_server_that_does_not_start(tmp_path: Path) -> None:
    with demo(tmp_path / "missing", free_port()) as process:
        assert process.wait(SECONDS) == 1
