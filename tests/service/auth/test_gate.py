"""App with API keys: authentication, admin routes, rate limits, and the form of refusals."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.auth.admin import AdminOnly
from service.auth.keyfile import line_of, new_key
from service.auth.rate_limit import RateLimit
from service.problems.errors import AccessSettingError
from service.settings import Settings
from tests.service.artifacts import add_artifact
from tests.service.pictures import encode, random_pixels
from tests.service.scripted import fresh, picture

PNG = encode(random_pixels())
USER, ADMIN = new_key("alice"), new_key("root", admin=True)
SLOW, FREE = new_key("slow", limit=RateLimit(0.001, 2)), new_key("free", limit=RateLimit.unlimited())
OPEN = ["/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"]
OPEN += ["/", "/docs", "/openapi.json", "/web/main.js"]
CLOSED = ["/v1/classify", "/v1/models", "/v1/latency", "/metrics", "/v1/nothing", "/v2", "/v2/models/m", "/nothing"]
CLOSED += ["/health", "/healthy", "//health/live", "/docs/", "/web", "/v2/health/livelier", "/v1/..%2fhealth/live"]


def bearer(key: tuple[str, object]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key[0]}"}


def app_of(repository: Path, tmp_path: Path, **settings: object) -> FastAPI:
    """Return the app with keys, and with two more routes for admins."""
    file = tmp_path / "keys"
    file.write_text("".join(line_of(key) + "\n" for _, key in (USER, ADMIN, SLOW, FREE)))
    app = create_app(
        Settings.model_validate({"repository": repository, "threads": 1, "api_keys_file": file} | settings)
    )
    add_admin_routes(app)
    return app


def add_admin_routes(app: FastAPI) -> None:
    @app.post("/v2/repository/tests/{name}/load", dependencies=[AdminOnly])
    @app.post("/v1/dangerous", dependencies=[AdminOnly])
    async def load() -> str:
        return "loaded"


@pytest.fixture(scope="module")
def protected(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with TestClient(app_of(repository, tmp_path_factory.mktemp("keys"))) as client:
        yield client


@pytest.mark.parametrize("path", OPEN)
def test_health_and_documentation_need_no_key(protected: TestClient, path: str) -> None:
    assert protected.get(path, follow_redirects=False).status_code not in {401, 403}


def test_a_probe_without_a_key_does_not_see_names_of_failed_versions(tmp_path: Path) -> None:
    add_artifact(tmp_path / "repository", variant="secret")
    with fresh() as scripted, TestClient(app_of(tmp_path / "repository", tmp_path, backend="scripted")) as client:
        scripted.broken.add("secret")
        assert client.post("/v1/classify", content=picture(1), headers=bearer(USER)).status_code == 503
        for path in ("/health/ready", "/v2/health/ready"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "being restarted: 1 versions" in answer.text
            assert "secret" not in answer.text


@pytest.mark.parametrize("path", CLOSED)
def test_all_other_paths_need_a_key(protected: TestClient, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        refused = protected.request(method, path, content=PNG if method == "POST" else None)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="posbake"'
        assert refused.headers["X-Request-Id"]
        assert protected.request(method, path, headers=bearer(USER), follow_redirects=False).status_code != 401


@pytest.mark.parametrize("path", CLOSED[:3])
def test_without_a_key_file_no_key_is_needed(client: TestClient, path: str) -> None:
    assert client.get(path).status_code != 401


@pytest.mark.parametrize(
    "headers",
    [
        bearer(USER),
        {"Authorization": f"bearer  {USER[0]} "},
        {"X-API-Key": USER[0]},
        {"X-API-Key": USER[0], "Authorization": "Basic YTpi"},
        {"X-API-Key": "wrong", **bearer(USER)},
    ],
)
def test_a_key_is_accepted_in_either_header(protected: TestClient, headers: dict[str, str]) -> None:
    assert protected.post("/v1/classify", content=PNG, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {USER[0][:-1]}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {USER[1].digest.hex()}"},
        {"X-API-Key": "x" * 10_000},
        {"X-API-Key": USER[0], "Authorization": "Bearer wrong"},
    ],
)
def test_an_unknown_key_gets_an_error_that_does_not_repeat_it(protected: TestClient, headers: dict[str, str]) -> None:
    refused = protected.get("/v1/models", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="posbake", error="invalid_token"'
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["title"] == "Key required"
    assert "is unknown" in refused.json()["detail"]
    assert not any(value in refused.text for value in headers.values() if value != "Bearer")


def test_a_key_in_the_query_is_ignored(protected: TestClient) -> None:
    assert protected.get(f"/v1/models?key={USER[0]}&api_key={USER[0]}&access_token={USER[0]}").status_code == 401


def test_errors_under_v2_have_that_protocols_format(protected: TestClient) -> None:
    load = "/v2/repository/tests/m/load"
    for headers, status in ({}, 401), (bearer(USER), 403), ({"X-API-Key": "x"}, 401):
        refused = protected.post(load, headers=headers)
        assert refused.status_code == status
        assert list(refused.json()) == ["error"]
        assert refused.headers["content-type"] == "application/json"
        assert protected.post("/v1/dangerous", headers=headers).json()["status"] == status


def test_admin_routes_need_an_admin_key(protected: TestClient) -> None:
    for path in ("/v2/repository/tests/m/load", "/v1/dangerous"):
        assert protected.post(path).status_code == 401
        assert protected.post(path, headers=bearer(USER)).status_code == 403
        assert protected.post(path, headers=bearer(ADMIN)).status_code == 200


def test_without_keys_admin_routes_are_refused(repository: Path) -> None:
    app = create_app(Settings(repository=repository, threads=1))
    add_admin_routes(app)
    with TestClient(app) as client:
        for headers in ({}, bearer(ADMIN)):
            refused = client.post("/v2/repository/tests/m/load", headers=headers)
            assert refused.status_code == 403
            assert "API_KEYS_FILE" in refused.json()["error"]


def open_admin_paths(app: FastAPI) -> list[str]:
    """Return the paths that load or unload models without responding 403, on a server without keys."""
    with TestClient(app, raise_server_exceptions=False) as client:
        paths = [path for path in app.openapi()["paths"] if re.search(r"/repository/.*/(un)?load$", path)]
        return [path for path in paths if client.post(path.replace("{", "").replace("}", "")).status_code != 403]


@pytest.mark.slow
def test_every_route_that_loads_or_unloads_is_an_admin_route(repository: Path) -> None:
    settings = Settings(repository=repository, threads=1)
    assert open_admin_paths(create_app(settings)) == []
    app = create_app(settings)
    add_admin_routes(app)
    assert open_admin_paths(app) == []

    @app.post("/v2/repository/tests/{name}/unload")
    async def unprotected() -> None: ...

    app.openapi_schema = None
    assert open_admin_paths(app) == ["/v2/repository/tests/{name}/unload"]  # the check can fail


def test_a_key_over_its_rate_limit_gets_retry_after_and_others_are_served(protected: TestClient) -> None:
    answers = [protected.get("/v1/models", headers=bearer(SLOW)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 990 <= int(answers[2].headers["Retry-After"]) <= 1000
    assert answers[2].json()["title"] == "Rate limited"
    assert list(protected.get("/v2/models", headers=bearer(SLOW)).json()) == ["error"]
    assert protected.get("/health/ready", headers=bearer(SLOW)).status_code == 200
    assert protected.get("/v1/models", headers=bearer(USER)).status_code == 200


def test_the_default_rate_limit_applies_to_keys_without_their_own(repository: Path, tmp_path: Path) -> None:
    with TestClient(app_of(repository, tmp_path, rate_limit=0.01)) as client:
        for key, statuses in (USER, [200, 429, 429]), (SLOW, [200, 200, 429]), (FREE, [200, 200, 200]):
            assert [client.get("/v1/models", headers=bearer(key)).status_code for _ in range(3)] == statuses


def test_refusals_are_counted_by_reason(repository: Path, tmp_path: Path) -> None:
    with TestClient(app_of(repository, tmp_path)) as client:
        for headers in {}, bearer(SLOW), bearer(SLOW), bearer(SLOW):
            client.post("/v1/classify", content=PNG, headers=headers)
        lines = client.get("/metrics", headers=bearer(USER)).text.splitlines()
    for reason in ("key-required", "rate-limited"):
        (line,) = [line for line in lines if f'reason="{reason}"' in line and "_created" not in line]
        assert float(line.split()[-1]) == 1


def test_requests_with_an_unknown_key_do_not_count_against_a_rate_limit(repository: Path, tmp_path: Path) -> None:
    with TestClient(app_of(repository, tmp_path, rate_limit=0.01)) as client:
        assert {client.get("/v1/models", headers={"X-API-Key": "x"}).status_code for _ in range(5)} == {401}
        assert client.get("/v1/models", headers=bearer(USER)).status_code == 200


def test_the_openapi_document_states_which_routes_need_a_key(protected: TestClient, client: TestClient) -> None:
    document = protected.get("/openapi.json").json()
    assert document == protected.get("/openapi.json").json()
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == ("security" in operation) == (path not in OPEN)
    assert "securitySchemes" not in client.get("/openapi.json").json().get("components", {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_limit": 1.0}, "RATE_LIMIT applies to API keys.*API_KEYS_FILE"),
        ({"api_keys_file": "nowhere"}, "API_KEYS_FILE nowhere cannot be used: No such file"),
    ],
)
def test_contradictory_settings_stop_the_start(settings: dict[str, object], message: str) -> None:
    with pytest.raises(AccessSettingError, match=message):
        create_app(Settings.model_validate(settings))


def test_a_refused_request_is_logged(protected: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service"):
        protected.get("/v1/models")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "service.access"]
    assert line.startswith("GET /v1/models 401 ")
