"""Contenders of the serving benchmark: environments, requests, and checks of their responses."""

import base64
import json
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.contenders.environments import NAMES, REQUIREMENTS, Apart, Beside
from benchmarks.serving import report
from benchmarks.serving_contenders import CONTENDERS, Contender, base64_tensor
from benchmarks.serving_inputs import IMAGES
from benchmarks.serving_load import load, wrk_is_installed
from benchmarks.serving_servers import check, running

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
FAKE = """
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = json.dumps({"predictions": [{"label": body + " as " + self.headers["Content-Type"]}]}).encode()
        self.send_response(200 if body.startswith("image ") else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
ECHO = Contender(
    "echo",
    Beside("http"),
    "float32",
    lambda port, _: ("-c", FAKE, str(port)),
    "/",
    lambda image: b"image " + image,
    "text/plain",
)


def pins(file: Path) -> dict[str, str]:
    """Return name and version of every line; fail if a line has another form."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines]
    assert all(found), lines
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for place in range(IMAGES):
        (tmp_path / f"{place}.jpg").write_text(str(place))
    return tmp_path


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@pytest.mark.parametrize("name", NAMES)
def test_a_separate_environment_has_pinned_versions_and_our_numpy_onnxruntime_and_pillow(name: str) -> None:
    theirs, ours = pins(REQUIREMENTS / f"{name}.txt"), pins(CONSTRAINTS)
    assert name in theirs
    assert [theirs[library] for library in ("numpy", "onnxruntime", "pillow")] == [
        ours[library] for library in ("numpy", "onnxruntime", "pillow")
    ]


def test_every_separate_environment_belongs_to_a_contender() -> None:
    apart = [one.environment.name for one in CONTENDERS.values() if isinstance(one.environment, Apart)]
    assert sorted(apart) == list(NAMES) == ["bentoml", "mlserver", "ray"]


def test_an_environment_is_available_if_made_from_the_current_requirements(tmp_path: Path) -> None:
    environment = Apart("ray", tmp_path)
    assert not environment.available
    (tmp_path / "ray").mkdir()
    made = tmp_path / "ray" / "made-from.txt"
    made.write_text((REQUIREMENTS / "ray.txt").read_text())
    assert environment.available
    made.write_text("ray==1.0.0\n")
    assert not environment.available


def test_a_missing_contender_is_a_row_with_the_install_command(capsys: pytest.CaptureFixture[str]) -> None:
    report({}, 100.0, (8,), ("ray", "litserve"))
    rows = capsys.readouterr().out
    assert "| 8 | Ray Serve | missing: python -m benchmarks.contenders ray |" in rows
    assert "| 8 | LitServe | missing: pip install -c constraints.txt -e '.[benchmarks]' |" in rows


def test_a_base64_tensor_contains_the_file() -> None:
    (tensor,) = json.loads(base64_tensor(b"\xff\xd8 a file"))["inputs"]
    assert base64.b64decode(tensor["data"][0]) == b"\xff\xd8 a file"


def test_a_server_gets_requests_in_its_contenders_form_and_its_responses_are_compared(images: Path, port: int) -> None:
    labels = [f"image {place} as text/plain" for place in range(IMAGES)]
    with running(ECHO, port, images / "repository", images) as server:
        check(server, labels)
        with pytest.raises(RuntimeError, match="echo answers"):
            check(server, [*labels[:-1], "another"])


def test_a_server_that_exits_immediately_is_reported_with_its_log(images: Path, port: int) -> None:
    ending = replace(ECHO, command=lambda *_: ("-c", "raise SystemExit('no such model')"))
    with (
        pytest.raises(RuntimeError, match="no such model"),
        running(ending, port, images / "repository", images),
    ):
        pass


@pytest.mark.skipif(not wrk_is_installed(), reason="wrk is not installed")
def test_the_load_sends_the_contenders_bodies(images: Path, port: int) -> None:
    with running(ECHO, port, images / "repository", images) as server:
        measured = load(server, 2, 1)
    assert measured.good > IMAGES
    assert (measured.refused, measured.broken) == (0, 0)
