"""Clients that do not read a large file: its bytes count towards MAX_HELD_BYTES until they are sent."""

import socket
from pathlib import Path

import pytest

from tests.service.artifacts import add_artifact
from tests.service.process import serving
from tests.service.transport.sockets import connect, receive_to_end
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow

SIZE = 8_000_000
FILE = b"GET /v1/models/colours/variants/mean/samples/large.png HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_files_that_are_not_read_do_not_take_more_memory_than_allowed(tmp_path: Path) -> None:
    add_artifact(tmp_path / "artifacts", files={"samples/large.png": bytes(SIZE)}, samples=("large.png",))
    flags = ("--repository", str(tmp_path / "artifacts"), "--port", "0", "--max-held-bytes", str(3 * SIZE + 1))
    with serving(tmp_path, *flags) as server:

        def answer() -> bytes:
            with connect(server) as connection:
                connection.sendall(FILE)
                return receive_to_end(connection)

        waiting: list[socket.socket] = []
        try:
            for _ in range(3):
                waiting.append(connect(server))
                waiting[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # otherwise it may grow
                waiting[-1].sendall(FILE)
                assert waiting[-1].recv(12) == b"HTTP/1.1 200"
            assert answer().startswith(b"HTTP/1.1 503")
        finally:
            for connection in waiting:
                connection.close()
        wait_until(lambda: answer().startswith(b"HTTP/1.1 200"))
        assert answer().endswith(bytes(SIZE))
