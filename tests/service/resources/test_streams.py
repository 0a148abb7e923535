"""Closed standard streams: replaced, so that neither files nor connections get their descriptors."""

import socket
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import httpx2
import pytest

from tests.service.waiting import wait_until

PROGRAM = """
import os, sys
from service.resources.streams import open_standard_streams
open_standard_streams()
with open(sys.argv[1], "w") as file:
    print(file.fileno() > 2, *(stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)), file=file)
print("to stdout")
os.write(1, b"x")
print("to stderr", file=sys.stderr)
os.write(2, b"x")
assert sys.stdin.read() == ""
"""
CLOSED = [closed for count in range(4) for closed in combinations(("<", ">", "2>"), count)]


def without(closed: tuple[str, ...], *command: object) -> subprocess.Popen[bytes]:
    script = f'exec "$@" {" ".join(f"{stream}&-" for stream in closed)}'
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", sys.executable, *map(str, command)], stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("closed", CLOSED)
def test_a_file_never_gets_the_descriptor_of_a_closed_stream(tmp_path: Path, closed: tuple[str, ...]) -> None:
    assert without(closed, "-c", PROGRAM, tmp_path / "out").wait(60) == 0
    assert (tmp_path / "out").read_text() == "True 0 1 2\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [("2>",), ("<", ">", "2>")])
def test_a_server_without_standard_streams_serves(repository: Path, closed: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def ready() -> bool:
        assert server.poll() is None
        try:
            return httpx2.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    server = without(closed, "-m", "service", "--repository", repository, "--port", port)
    try:
        wait_until(ready, 60)
    finally:
        server.terminate()
    assert server.wait(60) == 0
