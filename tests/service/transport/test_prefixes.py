"""Server under a path prefix, set by ROOT_PATH or sent by a trusted proxy."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request

from service.app import create_app
from service.auth.keyfile import line_of, new_key
from service.problems.errors import AccessSettingError
from service.settings import Settings
from service.transport.prefixes import Prefixes
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())
HEADER = "X-Forwarded-Prefix"
TRUSTED, OTHER = "127.0.0.1", "203.0.113.9"


def found(settings: Settings, client: str | None = TRUSTED, root_path: str = "", **headers: str) -> str:
    """Return the prefix of a request over a connection from `client`."""
    pairs = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    address = None if client is None else (client, 1)
    scope = {"type": "http", "client": address, "root_path": root_path, "headers": pairs}
    return Prefixes.of(settings).find(Request(scope))


def test_there_is_no_prefix_by_default() -> None:
    assert found(Settings()) == found(Settings(root_path="/")) == ""


@pytest.mark.parametrize("given", ["/ml", "/ml/", "/a/b.c/~d_e-f", "/..a/.b"])
def test_a_prefix_is_set_by_root_path_a_trusted_proxy_or_the_server(given: str) -> None:
    assert found(Settings(root_path=given)) == given.rstrip("/")
    assert found(Settings(root_path="/own"), X_Forwarded_Prefix=given) == given.rstrip("/")
    assert found(Settings(), root_path=given) == given.rstrip("/")


@pytest.mark.parametrize(
    "evil",
    [
        *("//evil.example", "/\\evil.example", "http://evil.example", "evil", "/..", "/a/../b", "/./a", "/a//b"),
        *("/a\tb", "/a\r\nb", "/%2e%2e", "/a?b", "/a#b", "/a'b", '/"><script>', "/a b", "/é", "/a,/b", "/" + "a" * 300),
    ],
)
def test_an_invalid_path_is_not_accepted_as_prefix(evil: str) -> None:
    assert found(Settings(), X_Forwarded_Prefix=evil) == ""
    assert found(Settings(root_path="/own"), X_Forwarded_Prefix=evil) == "/own"
    with pytest.raises(AccessSettingError, match=r"ROOT_PATH is .* expected a path such as /ml"):
        create_app(Settings(root_path=evil))


@pytest.mark.parametrize(
    ("allowed", "client", "trusted"),
    [
        ("127.0.0.1", TRUSTED, True),
        ("127.0.0.1", OTHER, False),
        ("203.0.113.0/24", OTHER, True),
        ("10.0.0.1, 203.0.113.9", OTHER, True),
        ("*", OTHER, True),
        ("none", TRUSTED, False),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("::1", "::1", True),
        ("127.0.0.1", "::1", False),
        ("127.0.0.1", "no address", False),
        ("127.0.0.1", None, False),
    ],
)
def test_only_named_proxies_are_trusted(allowed: str, client: str | None, trusted: bool) -> None:
    prefix = found(Settings(forwarded_allow_ips=allowed), client, X_Forwarded_Prefix="/ml")
    assert prefix == ("/ml" if trusted else "")


def test_a_client_cannot_claim_to_be_a_proxy() -> None:
    headers = {"X_Forwarded_For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X_Real_IP": "127.0.0.1"}
    assert found(Settings(), OTHER, X_Forwarded_Prefix="/ml", **headers) == ""


@pytest.mark.parametrize("wrong", ["proxy.example", "127.0.0.1,", "10.0.0.1/8", "300.0.0.1"])
def test_an_invalid_address_stops_the_start(wrong: str) -> None:
    with pytest.raises(
        AccessSettingError, match=r"FORWARDED_ALLOW_IPS is .* expected comma-separated addresses or networks"
    ):
        create_app(Settings(forwarded_allow_ips=wrong))


@pytest.mark.slow
def test_the_openapi_document_names_the_prefix_and_is_rendered_once_per_prefix(repository: Path) -> None:
    app = create_app(Settings(repository=repository, threads=1))
    rendered, plain = [], app.openapi
    app.openapi = lambda: rendered.append(1) or plain()  # type: ignore[func-returns-value, method-assign]
    client = TestClient(app, client=(TRUSTED, 1))
    for _ in range(5):
        for prefix in ("", "/ml", "/a/b"):
            headers = {HEADER: prefix} if prefix else {}
            document = client.get("/openapi.json", headers=headers).json()
            assert document.get("servers") == ([{"url": prefix}] if prefix else None)
            assert len(document["paths"]) > 10
    assert len(rendered) == 3
    for number in range(20):  # a limited number is cached
        client.get("/openapi.json", headers={HEADER: f"/{number}"})
    client.get("/openapi.json")
    assert len(rendered) == 24


def test_requests_are_served_with_and_without_the_root_path(repository: Path, tmp_path: Path) -> None:
    secret, key = new_key("a")
    (tmp_path / "keys").write_text(line_of(key))
    settings = Settings(repository=repository, threads=1, root_path="/ml", api_keys_file=tmp_path / "keys")
    with TestClient(create_app(settings)) as client:
        for path in ("/ml/v1/classify", "/v1/classify"):
            assert client.post(path, content=PNG, headers={"X-API-Key": secret}).status_code == 200
            refused = client.post(path, content=PNG)
            assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")
        assert client.post("/ml/v2/models/x/infer").json().keys() == {"error"}
        assert client.get("/ml/health/live").status_code == 200
        assert client.get("/mlx/health/live").status_code == 401
        metrics = client.get("/ml/metrics", headers={"X-API-Key": secret}).text
    assert 'posbake_requests_total{model="colours",status="200",variant="mean",version="10"} 2.0' in metrics
