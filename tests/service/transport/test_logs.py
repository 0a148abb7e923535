"""Log of a real process: contents of each line, and secrets that must not appear."""

import base64
import json
import logging
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from service.auth.keyfile import line_of, new_key
from service.problems.errors import AccessSettingError
from service.transport.logs import JsonFormatter, configure_logging
from tests.service.pictures import encode, random_pixels
from tests.service.process import serving

pytestmark = pytest.mark.slow

PNG = encode(random_pixels())
SECRET, KEY = new_key("alice")
UNKNOWN = "an-unknown-key"
QUERY = "a-query-of-ours"


@dataclass(frozen=True)
class Logged:
    lines: list[str]
    status: dict[str, int]
    """Status of each request, by its id."""


def send_requests(url: str) -> dict[str, int]:
    """Send valid and invalid requests, and return the status of each."""
    requests = {
        "good": ("/v1/classify?top_k=1", PNG, {"Authorization": f"Bearer {SECRET}"}),
        "unknown-key": (f"/v1/classify?key={QUERY}", PNG, {"X-API-Key": UNKNOWN}),
        "no-image": ("/v1/classify", b"not-an-image-of-ours", {"X-API-Key": SECRET}),
        "no-base64": ("/v1/classify", b'{"image": "not.base64.of.ours"}', {"Content-Type": "application/json"}),
        "no-such-parameter": (f"/v1/classify?key={QUERY}", PNG, {"X-API-Key": SECRET}),
        "bad-query": (f"/v1/classify?top_k={QUERY}", PNG, {"X-API-Key": SECRET}),
    }
    requests["no-base64"][2]["X-API-Key"] = SECRET
    return {
        name: httpx2.post(url + path, content=body, headers={**headers, "X-Request-Id": name}).status_code
        for name, (path, body, headers) in requests.items()
    }


@pytest.fixture(scope="module", params=["json", "text"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def logged(repository: Path, tmp_path_factory: pytest.TempPathFactory, log_format: str) -> Logged:
    directory = tmp_path_factory.mktemp(log_format)
    (directory / "keys").write_text(line_of(KEY))
    flags = ("--port", "0", "--repository", str(repository), "--threads", "1", "--log-format", log_format)
    with serving(directory, *flags, "--api-keys-file", str(directory / "keys")) as running:
        status = send_requests(running.url.rstrip('",}'))  # in a JSON log, the line continues after the URL
    return Logged(running.log.read_text().splitlines(), status)


def test_every_request_is_logged_on_one_line_with_its_id_and_key_name(logged: Logged, log_format: str) -> None:
    refused = {"unknown-key": 401, "no-image": 400, "no-base64": 422, "no-such-parameter": 422, "bad-query": 422}
    assert logged.status == {"good": 200, **refused}
    for name, status in logged.status.items():
        (line,) = [line for line in logged.lines if name in line]
        if log_format == "text":
            key = "" if status == 401 else " key=alice"
            assert f"POST /v1/classify {status} " in line
            assert line.endswith(f" ms {name}{key}")
            continue
        entry = json.loads(line)
        assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/classify", status)
        assert entry["request_id"] == name
        assert entry["ms"] > 0
        assert entry.get("key") == (None if status == 401 else "alice")


def test_every_line_of_a_json_log_is_an_object(logged: Logged, log_format: str) -> None:
    if log_format == "text":
        with pytest.raises(json.JSONDecodeError):
            json.loads(logged.lines[0])
        return
    for line in logged.lines:
        entry = json.loads(line)
        assert datetime.fromisoformat(entry["time"]).utcoffset() is not None
        assert {"level", "logger", "message"} <= set(entry)
    assert any("ready on http://" in line for line in logged.lines)


def test_no_line_contains_a_key_a_hash_part_of_a_body_or_a_query(logged: Logged) -> None:
    text = "\n".join(logged.lines)
    assert "good" in text  # the search can find text
    for forbidden in (SECRET, UNKNOWN, KEY.digest.hex(), QUERY, "of-ours", "top_k", "IHDR", "\\x89PNG"):
        assert forbidden not in text
    assert base64.b64encode(PNG).decode()[:12] not in text


def test_a_line_of_the_process_itself_has_no_request_id(logged: Logged, log_format: str) -> None:
    (line,) = [line for line in logged.lines if "stopping:" in line]
    assert ("request_id" not in json.loads(line)) if log_format == "json" else line.endswith(" accepted requests")


def test_an_exception_is_logged_as_one_line_of_json() -> None:
    try:
        raise ZeroDivisionError("a\nb")
    except ZeroDivisionError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "of %s\nlines", ("two",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("ERROR", "of two\nlines")
    assert "ZeroDivisionError: a\nb" in entry["exception"]


def test_an_unknown_format_stops_the_start() -> None:
    with pytest.raises(AccessSettingError, match="'xml' is unknown; expected text or json"):
        configure_logging("xml")
