"""The service as a process: requests over a socket, and failures to start."""

import base64
import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import numpy as np
import pytest

from service.__main__ import main
from tests.service.artifacts import add_artifact, expected_probabilities
from tests.service.pictures import encode, png_claiming, random_pixels
from tests.service.process import Running, run_to_end, serving
from tests.service.transport.sockets import connect, receive_to_end

pytestmark = pytest.mark.slow

PIXELS = random_pixels()
PNG = encode(PIXELS)
UVICORN = (sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app")


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    flags = ("--port", "0", "--repository", str(repository), "--max-body-bytes", "1000000", "--threads", "2")
    with serving(tmp_path_factory.mktemp("server"), *flags) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def exchange(running: Running, request: bytes) -> bytes:
    """Send `request`, and return everything received until the server closes the connection."""
    with connect(running) as connection:
        connection.sendall(request)
        return receive_to_end(connection)


def test_all_three_forms_of_a_request_are_served(server: Running) -> None:
    with httpx2.Client(base_url=server.url) as client:
        assert client.get("/health/ready").status_code == 200
        for response in (
            client.post("/v1/classify?variant=mean&version=1", content=PNG, headers={"Content-Type": "image/png"}),
            client.post("/v1/classify?variant=mean&version=1", files={"image": ("x.png", PNG)}),
            client.post("/v1/classify?variant=mean&version=1", json={"image": base64.b64encode(PNG).decode()}),
        ):
            found = {p["index"]: p["probability"] for p in response.json()["predictions"]}
            expected = dict(enumerate(expected_probabilities(PIXELS)))
            assert found == pytest.approx(expected, rel=1e-5)


def test_concurrent_clients_get_their_own_responses(server: Running) -> None:
    def ask(seed: int) -> None:
        pixels = random_pixels(seed=seed)
        response = client.post("/v1/classify?variant=mean&version=1", content=encode(pixels))
        found = [p["probability"] for p in sorted(response.json()["predictions"], key=lambda p: p["index"])]
        np.testing.assert_allclose(found, expected_probabilities(pixels), rtol=1e-5)

    with httpx2.Client(base_url=server.url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(100)))


def test_a_content_length_over_the_limit_is_refused_before_the_body_arrives(server: Running) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9999999999\r\n"
    answer = exchange(server, head + b"Connection: close\r\n\r\n")  # no byte of the body is sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert b"9999999999 bytes, at most 1000000 are allowed" in answer


def test_a_chunked_body_is_refused_at_the_limit(server: Running) -> None:
    """The last chunk is never sent, so a server that waited for it would not respond."""
    head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (1_000_001, b"x" * 1_000_001)
    assert exchange(server, head + chunk).startswith(b"HTTP/1.1 413 ")
    assert httpx2.post(f"{server.url}/v1/classify", content=PNG).status_code == 200


def test_a_client_that_disconnects_during_a_request_does_not_affect_others(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert httpx2.post(f"{server.url}/v1/classify", content=PNG).status_code == 200


def test_an_image_of_billions_of_pixels_is_refused(server: Running) -> None:
    response = httpx2.post(f"{server.url}/v1/classify", content=png_claiming(50_000, 50_000))
    assert (response.status_code, response.json()["limit"]) == (413, 50_000_000)


def one_sentence(stderr: str) -> str:
    (line,) = stderr.splitlines()
    assert line.startswith("python -m service: ")
    return line


@pytest.fixture
def start(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a start in this process that fails, and returns its status and last line."""
    for name in ("logThreads", "logMultiprocessing", "logProcesses", "_srcfile"):
        monkeypatch.setattr(logging, name, getattr(logging, name))  # restored at the end

    def run(*arguments: str) -> tuple[int, str]:
        try:
            status = main(["--port", "0", *arguments])
        except SystemExit as ended:  # raised by argparse
            status = ended.code if isinstance(ended.code, int) else -1
        return status, one_sentence(capfd.readouterr().err.splitlines()[-1])

    return run


def test_a_missing_repository_stops_the_start(start: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    status, sentence = start("--repository", str(tmp_path / "nowhere"))
    assert status == 1
    assert re.search(r"cannot read repository .*nowhere: No such file.*--repository", sentence)


def test_an_empty_repository_stops_the_start(
    start: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSBAKE_REPOSITORY", str(tmp_path))
    status, sentence = start()
    assert status == 1
    assert "is empty" in sentence
    assert "to_onnx.py" in sentence


def test_a_repository_without_a_usable_artifact_stops_the_start(tmp_path: Path) -> None:
    add_artifact(tmp_path)
    (tmp_path / "colours/mean/1/labels.txt").write_text("wrong")
    ended = run_to_end("--port", "0", "--repository", str(tmp_path))
    assert ended.returncode == 1
    refused, last = ended.stderr.splitlines()
    assert "ERROR" in refused
    assert "refused artifact colours/mean/1: " in refused
    assert "none of the 1 artifacts" in one_sentence(last)


def test_a_limit_of_threads_stops_the_start_with_the_reason(
    repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("decode"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert main(["--port", "0", "--repository", str(repository)]) == 1
    assert "can't start new thread; lower --threads" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_port_in_use_stops_the_start_with_one_sentence(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = run_to_end("--port", port, "--repository", str(repository))
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in one_sentence(ended.stderr)


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (["--host", "no.such.host.invalid"], 1, "cannot listen on no.such.host.invalid"),
        (["--backend", "tensorflow"], 1, "backend 'tensorflow' is unknown"),
        (["--backend", "onnxruntime", "--device", "npu"], 1, "device 'npu' is unknown"),
        (["--cpu-precision", "fp8"], 1, "CPU precision 'fp8' is unknown; known: auto, fp32, bf16"),
        (["--resizer", "gpu"], 1, "resizer 'gpu' is unknown"),
        (["--default-model", "birds"], 1, "default model 'birds' is unknown; known: colours"),
        (
            ["--repository", "none", "--log-format", "xml"],
            1,
            "log format 'xml' is unknown; expected text or json: --log-format",
        ),
        (["--port", "x"], 2, "--port or POSBAKE_PORT is 'x'"),
        (["--port", "65536"], 2, "less than or equal to 65535"),
        (["--threads", "0"], 2, "greater than 0"),
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
    ],
)
def test_an_invalid_setting_stops_the_start(
    repository: Path, flags: list[str], status: int, message: str, start: Callable[..., tuple[int, str]]
) -> None:
    found, sentence = start("--repository", str(repository), *flags)
    assert found == status
    assert message in sentence


def test_uvicorn_reports_the_same_error_without_a_traceback(tmp_path: Path) -> None:
    ended = run_to_end("--port", "0", command=UVICORN, POSBAKE_REPOSITORY=str(tmp_path))
    assert ended.returncode != 0
    assert "is empty" in ended.stderr
    assert "Traceback" not in ended.stderr
