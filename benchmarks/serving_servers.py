"""The servers of `benchmarks.serving`: how each is started, asked for the first time, and stopped."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_inputs import ROOT

SECONDS_TO_START = 60


@dataclass(frozen=True)
class Contender:
    """A server: what it takes, how to start it on a port, and where it answers."""

    name: str
    kind: str
    """The artifact's input: uint8 or float32."""
    command: Callable[[int, Path], tuple[str, ...]]
    """The arguments of Python, from the port and the repository."""
    path: str
    module: str
    """Without it, the contender is missing."""

    @property
    def available(self) -> bool:
        """Whether it can be started in this environment."""
        return importlib.util.find_spec(self.module) is not None


CONTENDERS = {
    "posbake": Contender(
        "posbake",
        "uint8",
        lambda port, repository: ("-m", "service", "--repository", str(repository), "--port", str(port)),
        "/v1/classify?variant=uint8",
        "service",
    ),
    "fastapi": Contender(
        "FastAPI + thread pool",
        "float32",
        lambda port, _: ("-m", "uvicorn", "benchmarks.plain_fastapi:app", "--port", str(port)),
        "/classify",
        "fastapi",
    ),
    "litserve": Contender(
        "LitServe",
        "float32",
        lambda port, _: ("-m", "benchmarks.lit_serve", str(port)),
        "/predict",
        "litserve",
    ),
}


@dataclass(frozen=True)
class Server:
    """A contender that runs."""

    url: str
    process: int


@contextmanager
def running(contender: Contender, port: int, repository: Path, image: Path) -> Iterator[Server]:
    """Run a server until the block ends; it has answered once when the block begins.

    Raises:
        RuntimeError: it does not answer within a minute; the message has the end of its log.
    """
    url = f"http://127.0.0.1:{port}{contender.path}"
    environment = {**os.environ, "POSBAKE_PLAIN_ARTIFACT": str(repository / "benchmark/float32/1")}
    log = repository.parent / f"{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, *contender.command(port, repository)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
    try:
        if not _answers(url, image.read_bytes(), process):
            raise RuntimeError(f"{contender.name} does not answer on {url}; its log ends:\n{log.read_text()[-2000:]}")
        yield Server(url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            with suppress(ProcessLookupError):  # the usual case: nothing of its session is left
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str, image: bytes, process: subprocess.Popen[bytes]) -> bool:
    request = urllib.request.Request(url, image, {"Content-Type": "image/jpeg"})  # noqa: S310
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return True
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    return False
