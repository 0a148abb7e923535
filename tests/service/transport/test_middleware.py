"""Request middleware: ids, the log, and unexpected exceptions."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from anyio import to_thread
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.pictures import encode, random_pixels

PNG = encode(random_pixels())


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 128])
def test_a_valid_request_id_is_kept(client: TestClient, given: str) -> None:
    response = client.post("/v1/classify", content=PNG, headers={"X-Request-Id": given})
    assert response.headers["X-Request-Id"] == response.json()["id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\tb", "é", "<script>"])
def test_an_invalid_request_id_is_replaced_by_a_new_one(client: TestClient, given: str) -> None:
    ids = set()
    for _ in range(2):
        response = client.post("/v1/classify", content=PNG, headers=[(b"X-Request-Id", given.encode())])
        assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])
        ids.add(response.json()["id"])
    assert len(ids) == 2


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/v1/nothing", "/v1/classify", "/docs", "/v1/models"])
def test_every_response_has_a_request_id(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"


def test_every_request_is_logged_on_one_line_without_its_image(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "service"):
        client.post("/v1/classify?model=x", content=PNG, headers={"X-Request-Id": "first"})
        client.get("/v1/a%0Aforged", headers={"X-Request-Id": "second"})
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("service")]
    assert len(lines) == 2
    assert re.fullmatch(r"POST /v1/classify 404 \d+\.\d ms first", lines[0])
    assert re.fullmatch(r"GET /v1/a%0Aforged 404 \d+\.\d ms second", lines[1])


def test_an_unexpected_exception_is_a_problem_with_its_traceback_only_in_the_log(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(repository=repository))

    @app.get("/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError("secret")

    with TestClient(app) as client:
        response = client.get("/v1/broken", headers={"X-Request-Id": "mine"})
        assert client.get("/health/ready").status_code == 200
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["X-Request-Id"] == response.json()["id"] == "mine"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "mine" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_readiness_is_503_before_startup_and_after_shutdown(repository: Path) -> None:
    app = create_app(Settings(repository=repository))
    outside = TestClient(app)  # without `with`, the app is not started
    assert outside.get("/health/live").status_code == 200
    for path in ("/health/ready", "/v1/models", "/v1/latency"):
        response = outside.get(path)
        assert (response.status_code, response.json()["title"]) == (503, "Not ready")
    with TestClient(app) as client:
        assert client.get("/health/ready").json() == {"status": "ready"}
    assert outside.get("/health/ready").status_code == 503
    assert outside.post("/v1/classify", content=PNG).status_code == 503


def test_a_path_with_a_trailing_slash_is_404_and_not_redirected(client: TestClient) -> None:
    """A redirect would go to the host named in the request, which the client controls."""
    for path in ("/v1/models/", "/v2/"):
        response = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
        assert response.status_code == 404
        assert "location" not in response.headers


def test_health_probes_are_answered_while_every_thread_of_the_pool_is_busy(client: TestClient) -> None:
    async def take_all() -> None:
        limiter = to_thread.current_default_thread_limiter()
        for number in range(int(limiter.available_tokens)):
            limiter.acquire_on_behalf_of_nowait(number)

    async def release_all() -> None:
        limiter = to_thread.current_default_thread_limiter()
        for number in [borrower for borrower in limiter.statistics().borrowers if isinstance(borrower, int)]:
            limiter.release_on_behalf_of(number)

    assert client.portal is not None
    client.portal.call(take_all)
    with ThreadPoolExecutor(1) as pool:
        paths = ("/health/ready", "/v2/health/ready", "/v2/models/colours@mean/ready")
        answers = [pool.submit(client.get, path) for path in paths]
        try:
            assert [answer.result(timeout=5).status_code for answer in answers] == [200, 200, 200]
        finally:
            client.portal.call(release_all)


def test_openapi_documents_the_three_bodies_and_the_problems(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {path for path in paths if not path.startswith("/v2")} == {
        *("/v1/classify", "/v1/models", "/v1/models/{model}", "/v1/models/{model}/variants/{variant}"),
        *(f"/v1/models/{{model}}/variants/{{variant}}/{folder}/{{name}}" for folder in ("baked", "samples")),
        *("/v1/compare", "/v1/latency", "/metrics", "/health/live", "/health/ready"),
    }
    classify = paths["/v1/classify"]["post"]
    assert set(classify["requestBody"]["content"]) == {
        *("image/*", "application/octet-stream", "multipart/form-data", "application/json"),
    }
    for status in ("400", "404", "413", "415", "422", "429", "500", "503", "504"):
        assert "application/problem+json" in classify["responses"][status]["content"]
    assert all(parameter["description"] for parameter in classify["parameters"])
