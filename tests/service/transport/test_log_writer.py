"""Log writer: lines stay in order, and an unread or full log does not delay the server."""

import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.transport import log_writer
from service.transport.log_writer import LogWriter
from tests.service.process import MODULE, environment
from tests.service.transport.apps import PATIENCE
from tests.service.waiting import wait_until

pytestmark = pytest.mark.slow


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "f", 1, "%s", (text,), None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def read_all(reading: int) -> bytes:
    found = b""
    while part := os.read(reading, 65536):
        found += part
    return found


def test_lines_of_many_threads_are_written_whole_and_in_each_threads_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LogWriter(writing)
    with ThreadPoolExecutor(5) as pool:
        found = pool.submit(read_all, reading)

        def write(thread: int) -> None:
            for number in range(500):
                writer.handle(record(f"{thread} {number}"))

        list(pool.map(write, range(4)))
        writer.flush()
        os.close(writing)
        lines = found.result(PATIENCE).decode().splitlines()
    assert len(lines) == 2000
    for thread in range(4):
        assert [line for line in lines if line[0] == str(thread)] == [f"{thread} {number}" for number in range(500)]
    assert writer.dropped == 0


def test_an_unread_pipe_drops_lines_without_delay_and_the_loss_is_reported_later(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    monkeypatch.setattr(log_writer, "MOST_WAITING", 200_000)
    monkeypatch.setattr(log_writer, "_FLUSH_SECONDS", 0.1)
    writer = LogWriter(writing)
    for number in range(5000):
        writer.handle(record(f"{number:099}"))
    assert 2000 < writer.dropped < 4000  # 64 KB are in the pipe, 200 kB in the queue
    writer.flush()  # gives up
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read_all, reading)
        writer.handle(record("once more"))
        writer.flush()
        wait_until(lambda: writer._reported == writer.dropped and writer._written == writer._queued)
        os.close(writing)
        text = found.result(PATIENCE).decode()
    kept = [int(line) for line in text.splitlines() if line.isdecimal()]
    lost = writer.dropped - (not text.count("once more"))
    assert kept == list(range(5000 - lost))  # the oldest, in order
    assert f"\n{writer.dropped} lines of the log were dropped before this one" in text


def test_lines_that_cannot_be_written_are_counted() -> None:
    with Path("/dev/full").open("wb") as full:
        writer = LogWriter(full.fileno())
        for _ in range(3):
            writer.handle(record("x"))
        writer.flush()
        assert writer.dropped == 3


def test_all_lines_are_written_to_a_non_blocking_pipe(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LogWriter(writing)
    for number in range(5000):
        writer.handle(record(f"{number:099}"))
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(read_all, reading)
        wait_until(lambda: writer._written == writer._queued)
        os.close(writing)
        assert len(found.result(PATIENCE).splitlines()) == 5000


def test_a_server_responds_although_its_log_is_not_read(repository: Path) -> None:
    """2,000 lines of 3 KB exceed the capacity of the pipe and the queue."""
    flags = ["--port", "0", "--repository", str(repository), "--threads", "1", "--reload-seconds", "0"]
    process = subprocess.Popen([*MODULE, *flags], stderr=subprocess.PIPE, env=environment())
    assert process.stderr is not None
    log = process.stderr.fileno()
    try:
        text = b""
        while (found := re.search(rb"ready on http://(\S+):(\d+)", text)) is None:
            part = os.read(log, 65536)
            assert part, text
            text += part
        with socket.create_connection((found[1].decode(), int(found[2])), timeout=PATIENCE) as connection:
            for hundred in range(20):
                answers = pipelined(connection, [f"/health/live/{100 * hundred + n}/{'x' * 3000}" for n in range(100)])
                assert answers.count(b"HTTP/1.1 404 ") == 100
            metrics = pipelined(connection, ["/metrics"])
        dropped = int(float(re.findall(rb"^posbake_log_lines_dropped_total (\S+)", metrics, re.MULTILINE)[0]))
        assert 200 < dropped < 2000
        process.terminate()
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(read_all, log)
            assert process.wait(PATIENCE) == 0
            text = rest.result(PATIENCE)
        answered = [int(number) for number in re.findall(rb"GET /health/live/(\d+)/x", text)]
        assert answered == sorted(answered)
        assert len(answered) == 2000 - dropped
        assert re.search(rb"WARNING .* \d+ lines of the log were dropped before this one", text)
        assert b"stopping: " in text  # later lines are written
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


ENDING = """
import logging
from service.transport.logs import configure_logging
configure_logging("text")
for number in range(20_000):
    logging.info("%099d", number)
"""


def test_a_process_exits_although_its_log_is_not_read_and_loses_no_line_if_it_is() -> None:
    read = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, check=True, timeout=PATIENCE)
    assert len(read.stderr.splitlines()) == 20_000
    with subprocess.Popen([sys.executable, "-c", ENDING], stderr=subprocess.PIPE) as unread:
        assert unread.wait(PATIENCE) == 0


def pipelined(connection: socket.socket, paths: list[str]) -> bytes:
    """Send all requests at once, and return the responses."""
    connection.sendall("".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths).encode())
    answers, whole = b"", 0
    while whole < len(paths):
        part = connection.recv(2**20)
        assert part
        answers += part
        end, whole = 0, 0
        while found := re.compile(rb"content-length: (\d+)\r\n(?:.+\r\n)*\r\n", re.IGNORECASE).search(answers, end):
            end = found.end() + int(found[1])
            whole += end <= len(answers)
    return answers
