"""Headers for browsers: content security policy and CORS."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.auth.keyfile import line_of, new_key
from service.problems.errors import AccessSettingError
from service.settings import Settings
from service.transport.cors import Origins
from service.transport.pages import page_headers
from tests.service.web.test_files import policy_of

PAGE, OTHER = "https://page.example", "https://other.example"


def test_a_page_loads_nothing_from_other_hosts() -> None:
    policy = policy_of(page_headers()["Content-Security-Policy"])
    assert {source for sources in policy.values() for source in sources} == {"'none'", "'self'", "data:", "blob:"}
    assert policy["frame-ancestors"] == ["'none'"]


def test_other_origins_get_no_cors_headers_unless_set(client: TestClient) -> None:
    for answer in (
        client.get("/health/live", headers={"Origin": PAGE}),
        client.options("/v1/classify", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"}),
    ):
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_an_allowed_origin_may_send_requests_and_another_may_not(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line_of(new_key("a")[1]))
    settings = Settings(repository=repository, threads=1, cors_origins=f"http://x:1, {PAGE}", api_keys_file=file)
    with TestClient(create_app(settings)) as client:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        # A browser sends no key with a preflight request.
        allowed = client.options("/v1/classify", headers={"Origin": PAGE, **ask})
        assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        assert allowed.headers["X-Request-Id"]
        refused = client.options("/v1/classify", headers={"Origin": OTHER, **ask})
        assert (refused.status_code, "Access-Control-Allow-Origin" in refused.headers) == (400, False)
        # Otherwise the page could not read the reason.
        unauthorised = client.post("/v1/classify", headers={"Origin": PAGE})
        assert (unauthorised.status_code, unauthorised.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
        assert "Access-Control-Allow-Credentials" not in unauthorised.headers


@pytest.mark.parametrize("origins", [PAGE, "*"])
def test_any_request_header_is_allowed_but_no_credentials(repository: Path, origins: str) -> None:
    client = TestClient(create_app(Settings(repository=repository, cors_origins=origins)))
    asked = "traceparent,tracestate,baggage,cache-control,x-requested-with,content-encoding,authorization,x-my-own"
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
    allowed = client.options("/v1/classify", headers=ask)
    assert allowed.status_code == 200
    names = {name.strip().lower() for name in allowed.headers["Access-Control-Allow-Headers"].split(",")}
    assert set(asked.split(",")) <= names
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    for method in ("GET", "HEAD"):
        asks = {**ask, "Access-Control-Request-Method": method}
        assert client.options("/v1/models", headers=asks).status_code == 200


def test_responses_not_made_by_the_application_allow_the_same_origins() -> None:
    some, any_ = Origins.parse(f"http://x:1, {PAGE}"), Origins.parse("*")
    assert some.headers(PAGE)[b"access-control-allow-origin"] == PAGE.encode()
    assert some.headers(PAGE)[b"vary"] == b"Origin"
    assert some.headers(OTHER) == some.headers("") == {b"vary": b"Origin"}
    assert any_.headers("")[b"access-control-allow-origin"] == b"*"


def test_any_origin_may_be_allowed(repository: Path) -> None:
    with TestClient(create_app(Settings(repository=repository, threads=1, cors_origins="*"))) as client:
        assert client.get("/v1/models", headers={"Origin": OTHER}).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", ["page.example", f"{PAGE}/", f"{PAGE},", "https://*.example", f"*,{PAGE}", "null"])
def test_an_invalid_origin_stops_the_start(origins: str) -> None:
    with pytest.raises(AccessSettingError, match=r"CORS_ORIGINS has .*scheme://host"):
        create_app(Settings(cors_origins=origins))
