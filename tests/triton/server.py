"""Triton as a process with a model repository."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.triton.environment import BACKENDS, FOLDER, LIBRARIES, SERVER, available

SECONDS_TO_START = 120
ONNX_RUNTIME_BACKEND = Path(__file__).with_name("onnxruntime_backend.py")


@dataclass(frozen=True)
class Triton:
    """Running server; addresses are `host:port`."""

    http: str
    grpc: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://{self.http}"


def skip_without_triton() -> None:
    """Skip the test if `make triton` has not run or failed."""
    if not available():
        pytest.skip("Triton is not installed; `make triton` installs it from the package nvidia-pytriton")


@contextmanager
def triton_server(repository: Path, directory: Path, *flags: str) -> Iterator[Triton]:
    """Run Triton with a repository until the block ends; its backends and log are written to `directory`."""
    backends = directory / "backends"
    shutil.copytree(BACKENDS, backends)
    (backends / "onnxruntime").mkdir()
    shutil.copy(ONNX_RUNTIME_BACKEND, backends / "onnxruntime" / "model.py")
    http, grpc = _free_ports(2)
    log = directory / "triton.log"
    command = [
        *(str(SERVER), f"--model-repository={repository}", f"--backend-directory={backends}"),
        *("--http-address=127.0.0.1", f"--http-port={http}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        *("--allow-metrics=false", "--exit-on-error=false", "--disable-auto-complete-config", *flags),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=_environment())
    running = Triton(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
    try:
        _wait_until_ready(running, process)
        _check_index(running, repository)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    """Return environment variables with the paths of Triton's libraries and of its Python backend's packages."""
    # Bytecode is cached, because each instance is a process that would otherwise compile all modules.
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}
    paths = {"PATH": f"{FOLDER}/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(LIBRARIES)}
    return kept | paths | {"VIRTUAL_ENV": str(FOLDER), "ORT_DISABLE_TELEMETRY": "1"}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _wait_until_ready(running: Triton, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{running.url}/v2/health/ready", timeout=10):
                return
        except urllib.error.HTTPError:
            break  # the server runs, but a model failed to load (`--exit-on-error=false`)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"Triton did not load the repository:\n{running.log.read_text()}")


def _check_index(running: Triton, repository: Path) -> None:
    """Check that every model is ready, because Triton itself is ready without ensembles whose tensors do not match."""
    with urllib.request.urlopen(urllib.request.Request(f"{running.url}/v2/repository/index", method="POST")) as index:
        ready = {entry["name"] for entry in json.load(index) if entry.get("state") == "READY"}
    missing = {path.name for path in repository.iterdir() if path.is_dir()} - ready
    assert not missing, f"Triton did not load {missing}:\n{running.log.read_text()}"
