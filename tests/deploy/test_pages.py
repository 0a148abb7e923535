"""Pages of an image: a missing or empty file is found wherever it is referenced."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from deploy.pages import load_pages

FILES = {
    "/": b'<link rel="icon" href="data:,"><script src="web/main.js"></script><a href="docs">',
    "/docs": b'<link href="web/swagger.css"><a href="openapi.json"><a href="https://example.org/">',
    "/web/main.js": b"main",
    "/web/swagger.css": b"css",
    "/openapi.json": b"{}",
    "/v1/models/digits/variants/rope": json.dumps(
        {"versions": [{"samples": ["7.png"], "constants": {"lines": [{"name": "cos"}]}}]}
    ).encode(),
    "/v1/models/digits/variants/rope/samples/7.png": b"png",
    "/v1/models/digits/variants/rope/baked/cos": b"npy",
}


@pytest.fixture
def files() -> Iterator[dict[str, bytes]]:
    """Files of a server, with its address as `url`."""
    files = dict(FILES)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        files["url"] = f"http://127.0.0.1:{server.server_port}".encode()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()


def test_every_referenced_file_is_loaded_once(files: dict[str, bytes]) -> None:
    assert load_pages(files["url"].decode(), "digits", "rope") == FILES


@pytest.mark.parametrize("address", FILES)
def test_a_missing_or_empty_file_is_named(files: dict[str, bytes], address: str) -> None:
    files[address] = b""
    with pytest.raises(AssertionError, match=rf"GET {address} was answered 200 with 0 bytes"):
        load_pages(files["url"].decode(), "digits", "rope")
    del files[address]
    with pytest.raises(AssertionError, match=rf"GET {address} was answered 404"):
        load_pages(files["url"].decode(), "digits", "rope")
