"""HEAD for every route with GET, and the methods listed by a 405."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.auth.keyfile import line_of, new_key
from service.settings import Settings

VARYING = {"date", "x-request-id"}


def get_paths(client: TestClient) -> list[str]:
    """Return every path with GET: those in the OpenAPI document, and those that are not in it."""
    names = {"{model}": "colours", "{variant}": "mean", "{name}": "colours@mean", "{version}": "10"}
    found = ["/", "/docs", "/openapi.json", "/web/page.css"]
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        file = {"baked": "table", "samples": "red.png"}.get(path.split("/")[-2])
        for pattern, name in {**names, **({"{name}": file} if file else {})}.items():
            path = path.replace(pattern, name)
        if "get" in operations:
            found.append(path)
    return found


def test_head_returns_the_headers_of_get_without_a_body(client: TestClient) -> None:
    paths = get_paths(client)
    assert {"/health/live", "/metrics", "/v1/models", "/v2", "/v2/models/colours@mean/config", "/"} <= set(paths)
    assert len(paths) >= 18
    for path in paths:
        get = client.get(path, follow_redirects=False)
        head = client.head(path, follow_redirects=False)
        assert get.status_code == head.status_code < 400, path
        assert head.content == b"", path
        expected = {name: value for name, value in get.headers.items() if name not in VARYING}
        found = {name: value for name, value in head.headers.items() if name not in VARYING}
        if path in {"/metrics", "/v1/latency", "/v2/models/stats"}:  # their length changes with each request
            expected.pop("content-length")
            assert int(found.pop("content-length")) > 0
        assert found == expected, path


def test_head_of_an_unknown_path_is_404(client: TestClient) -> None:
    for path in ("/nope", "/health/live/", "/v2/", "/v1/models/nope"):
        assert (client.head(path).status_code, client.head(path).content) == (404, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/classify", "POST"),
        ("HEAD", "/v1/classify", "POST"),
        ("POST", "/health/live", "GET, HEAD"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
        ("PUT", "/v2", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("GET", "/v2/models/colours/infer", "POST"),
    ],
)
def test_a_405_lists_the_allowed_methods(client: TestClient, method: str, path: str, allowed: str) -> None:
    refused = client.request(method, path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)


def test_head_requires_a_key_if_get_does(repository: Path, tmp_path: Path) -> None:
    secret, key = new_key("a")
    (tmp_path / "keys").write_text(line_of(key))
    with TestClient(create_app(Settings(repository=repository, threads=1, api_keys_file=tmp_path / "keys"))) as client:
        assert client.head("/v1/models").status_code == 401
        assert client.head("/v1/models", headers={"X-API-Key": secret}).status_code == 200
        assert client.head("/health/live").status_code == 200
