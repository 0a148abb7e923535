"""Supervisor with several real processes on one port."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.problems.errors import ProcessesError
from service.processes.shared import Place
from service.settings import Settings
from tests.service.pictures import encode, random_pixels
from tests.service.process import MODULE, Running, environment, run_to_end, serving

pytestmark = pytest.mark.slow

SECONDS = 30
IMAGE = encode(random_pixels())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("processes")
    with serving(directory, "--repository", str(repository), "--port", "0", "--processes", "2") as running:
        yield running


def children(running: Running) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def get(running: Running, path: str) -> Any:  # noqa: ANN401 -- JSON, or text
    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return (
            json.loads(body) if answer.getheader("Content-Type", "").startswith("application/json") else body.decode()
        )


def classify(running: Running, times: int) -> list[int]:
    """Send `times` images, each on its own connection, and return the statuses."""
    statuses = []
    for _ in range(times):
        connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/classify?variant=mean", IMAGE, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
    return statuses


def response_counts(running: Running) -> tuple[int, int, int]:
    """Return the number of responses according to /metrics, /v1/latency and /v2."""
    lines = re.findall(r'^posbake_requests_total{.*status="200".*} (\S+)$', get(running, "/metrics"), re.MULTILINE)
    latency = get(running, "/v1/latency")["versions"]
    stats = get(running, "/v2/models/stats")["model_stats"]
    return (
        round(sum(float(value) for value in lines)),
        sum(version["count"] for version in latency),
        sum(model["inference_count"] for model in stats),
    )


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return holds


def test_every_process_reports_the_counts_of_all_including_a_killed_one(service: Running) -> None:
    assert get(service, "/health/ready") == {"status": "ready"}
    before = response_counts(service)
    assert classify(service, 20) == [200] * 20
    after = (before[0] + 20, before[1] + 20, before[2] + 20)
    # One process may have the counts of the other 0.5 s before the other has those of the first.
    assert eventually(lambda: all(response_counts(service) == after for _ in range(8)))
    first, second = children(service)
    os.kill(second, signal.SIGKILL)
    assert eventually(lambda: len(children(service)) == 2 and second not in children(service))
    assert first in children(service)
    assert all(response_counts(service) == after for _ in range(8))
    assert "it is replaced in" in service.log.read_text()
    assert set(classify(service, 20)) == {200}
    after = (after[0] + 20, after[1] + 20, after[2] + 20)
    assert eventually(lambda: response_counts(service) == after)


def test_the_shared_directory_is_locked_against_removal_by_age(service: Running) -> None:
    variables = Path(f"/proc/{children(service)[0]}/environ").read_text().split("\0")
    found = Place.of(dict(variable.split("=", 1) for variable in variables if variable))
    assert found is not None
    descriptor = os.open(found.directory, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # systemd-tmpfiles skips such directories
    os.close(descriptor)


def test_connections_are_shared_among_the_processes(service: Running) -> None:
    found = set()

    def both_responded() -> bool:
        connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/health/live")
            answer = connection.getresponse()
            answer.read()
            found.add((answer.getheader("X-Request-Id") or "")[:16])  # the rest is a request counter
        return len(found) == 2

    assert eventually(both_responded)


def test_an_app_without_the_supervisor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProcessesError, match="python -m service"):
        create_app(Settings(repository=tmp_path, processes=2))


def test_at_shutdown_accepted_requests_of_all_processes_are_completed(tmp_path: Path, repository: Path) -> None:
    with serving(tmp_path, "--repository", str(repository), "--port", "0", "--processes", "2") as running:
        statuses: list[int] = []

        def send() -> None:
            with contextlib.suppress(ConnectionError):  # once the port is closed
                while True:
                    statuses.extend(classify(running, 1))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(statuses) > 20)
        pids = children(running)
        running.process.terminate()
        assert running.process.wait(SECONDS) == 0
        for thread in threads:
            thread.join(SECONDS)
        assert set(statuses) <= {200, 503}
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        assert running.log.read_text().count("stopping:") == 2


def test_a_process_killed_while_it_starts_is_replaced(tmp_path: Path, repository: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*MODULE, "--repository", str(repository), "--port", "0", "--processes", "3"], stderr=out, env=environment()
        )
    running = Running("", log, process)
    try:
        assert eventually(lambda: len(children(running)) == 3)  # the others start when the first is ready
        for pid in children(running)[1:]:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: "with 3 processes" in log.read_text())
        assert log.read_text().count("ended with status -9; it is replaced") == 2
    finally:
        process.send_signal(signal.SIGHUP)  # drains, like SIGTERM
        assert process.wait(SECONDS) == 0


def test_an_error_of_all_processes_is_reported_once(tmp_path: Path) -> None:
    done = run_to_end("--repository", str(tmp_path), "--port", "0", "--processes", "3")
    assert done.returncode == 1
    assert done.stderr.count("is empty") == 1


def test_a_port_in_use_stops_the_start(service: Running, repository: Path) -> None:
    port = service.url.rpartition(":")[2]
    done = run_to_end("--repository", str(repository), "--port", port, "--processes", "2")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_the_processes_of_a_killed_supervisor_end(service: Running) -> None:  # the last test of the file
    pids = children(service)
    assert len(pids) == 2
    service.process.kill()
    service.process.wait(SECONDS)
    assert eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
