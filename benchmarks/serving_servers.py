"""Servers of `benchmarks.serving`: start, first request, check and stop."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.serving_contenders import Contender
from benchmarks.serving_inputs import IMAGES, ROOT
from benchmarks.serving_processes import end

SECONDS_TO_START = 120
SECONDS_TO_ANSWER = 30
TELL_NOBODY = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Server:
    """A running contender."""

    contender: Contender
    url: str
    process: int
    bodies: Path
    """Folder of the request bodies: files 0, 1, …"""

    def ask(self, place: int) -> str:
        """Post a body and return the label of the most probable class.

        Raises:
            OSError: there is no response, or its status is not 200.
        """
        headers = {"Content-Type": self.contender.content_type}
        request = urllib.request.Request(self.url, (self.bodies / str(place)).read_bytes(), headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:  # noqa: S310
            return self.contender.top(json.load(answer))


@contextmanager
def running(
    contender: Contender,
    port: int,
    repository: Path,
    images: Path,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """Run a server, which has answered one request, until the block ends; then stop all its processes.

    Raises:
        RuntimeError: there is no response in time; the message has the end of the log.
    """
    _check_free(port)
    work = repository.parent / str(port)
    bodies = work / "bodies"
    bodies.mkdir(parents=True, exist_ok=True)
    for place in range(IMAGES):
        (bodies / str(place)).write_bytes(contender.body((images / f"{place}.jpg").read_bytes()))
    environment = {
        **os.environ,
        **TELL_NOBODY,
        "POSBAKE_PLAIN_ARTIFACT": str(repository / "benchmark/float32/1"),
        "BENTOML_HOME": str(work / "bentoml"),
        "TMPDIR": str(work),
        **settings,
    }
    log = work / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603
            [contender.environment.python, *contender.command(port, repository)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
    try:
        server = Server(contender, f"http://127.0.0.1:{port}{contender.path}", process.pid, bodies)
        if not _answers(server, process):
            said = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{contender.name} does not respond on {server.url}; its log ends:\n{said}")
        yield server
    finally:
        end(process)


def _check_free(port: int) -> None:
    """Raise RuntimeError if the port is in use, since that server would be measured instead."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, to ignore closed connections
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RuntimeError(f"port {port} is in use, perhaps by a server of an earlier run; stop it") from error


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    last = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < last and process.poll() is None:
        try:
            server.ask(0)
        except OSError:  # includes urllib's errors
            time.sleep(0.1)
        else:
            return True
    return False


def check(server: Server, labels: list[str]) -> None:
    """Check that a server predicts these labels, one for each image.

    Raises:
        RuntimeError: the server predicts others.
    """
    found = [server.ask(place) for place in range(len(labels))]
    if found != labels:
        raise RuntimeError(f"{server.contender.name} predicts {found}, the service's stages predict {labels}")
