"""The image test detects failures, shown with servers that stop correctly and incorrectly."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy import image_test
from deploy.bad_starts import BadStart
from deploy.engines import Wanted

pytestmark = pytest.mark.slow


class Served:
    """Fake container whose service is a thread of this process; `terminate` stops it, and `wait` gives a status."""

    def __init__(self, label: str = "7", status: int = 0, length: int = 0, log: str = "") -> None:
        answer = json.dumps({"predictions": [{"label": label}]}).encode()

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer) + length))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._status, self._log = status, log

    def execute(self, *_: str) -> int:
        return 0

    def terminate(self) -> None:
        self.server.shutdown()
        self.server.server_close()  # waits for the responses of its threads

    def wait(self) -> int:
        return self._status

    def log(self) -> str:
        return self._log

    def remove(self) -> None:
        """Do nothing: there is no container."""


class Engine:
    name = "this process"

    def __init__(self, container: Served) -> None:
        self._container = container

    def start(self, wanted: Wanted) -> Served:
        assert wanted.image == "posbake:cpu"
        return self._container


@contextmanager
def running(container: Served) -> Iterator[Served]:
    thread = threading.Thread(target=container.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield container
    finally:
        container.terminate()
        thread.join()


def test_a_service_that_completes_accepted_requests_and_exits_with_0_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with running(Served()) as container:
        image_test.stop_under_load(container)
    assert "exit status 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (Served(status=137), "exit status 137 after SIGTERM"),
        (Served(label="1"), "200 1"),
        (Served(length=1), "broken off"),
    ],
    ids=["killed", "wrong label", "truncated response"],
)
def test_other_outcomes_fail(container: Served, message: str) -> None:
    with running(container), pytest.raises(AssertionError, match=message):
        image_test.stop_under_load(container)


@pytest.mark.parametrize(
    ("status", "log", "passes"),
    [
        (1, "INFO a line\npython -m service: no GPU\n", True),
        (0, "python -m service: no GPU\n", False),
        (1, "python -m service: no GPU\nTraceback\n", False),
    ],
)
def test_a_bad_start_must_have_its_status_and_its_message_on_the_last_line(status: int, log: str, passes: bool) -> None:
    container = Served(status=status, log=log)
    container.server.server_close()
    bad = BadStart("GPU", "no GPU")
    if passes:
        assert bad.run(Engine(container), "posbake:cpu", Path()) == "python -m service: no GPU"
    else:
        with pytest.raises(AssertionError, match="expected exit status 1 and 'no GPU'"):
            bad.run(Engine(container), "posbake:cpu", Path())
