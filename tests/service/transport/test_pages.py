"""Pages for browsers and other origins."""

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.auth.keyfile import line_of, new_key
from service.problems.errors import AccessSettingError
from service.settings import Settings
from service.transport.cors import Origins
from service.transport.pages import page_headers

PAGE, OTHER = "https://page.example", "https://other.example"


class Assets(HTMLParser):
    """What a page loads from elsewhere, and its inline scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        url = given.get("src") or given.get("href")
        if url:
            self.urls.append(url)
        self._inside = tag == "script" and "src" not in given

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 -- the base class' own
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts.append(data)


def policy_of(value: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (part.split() for part in value.split(";"))}


def test_docs_may_load_what_it_has_and_nothing_else(client: TestClient) -> None:
    page = client.get("/docs")
    policy, assets = policy_of(page.headers["Content-Security-Policy"]), Assets(page.text)
    (folder,) = {url.rpartition("/")[0] + "/" for url in assets.urls if url.startswith("https:")}
    (script,) = assets.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == [folder, f"'sha256-{digest}'"]
    assert policy["style-src"] == [folder, "'unsafe-inline'"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "/openapi.json" in script
    assert int(page.headers["Content-Length"]) == len(page.content)


def test_docs_is_right_behind_a_prefix_too(repository: Path) -> None:
    app = create_app(Settings(repository=repository, threads=1))
    page = TestClient(app, root_path="/models").get("/docs")
    (script,) = Assets(page.text).scripts
    assert "'/models/openapi.json'" in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["Content-Security-Policy"]


def test_a_page_of_ours_loads_nothing_from_elsewhere() -> None:
    policy = policy_of(page_headers()["Content-Security-Policy"])
    assert {source for sources in policy.values() for source in sources} == {"'none'", "'self'", "data:", "blob:"}
    assert policy["frame-ancestors"] == ["'none'"]


def test_other_origins_are_told_nothing_unless_set(client: TestClient) -> None:
    for answer in (
        client.get("/health/live", headers={"Origin": PAGE}),
        client.options("/v1/classify", headers={"Origin": PAGE, "Access-Control-Request-Method": "POST"}),
    ):
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_named_origin_may_ask_and_another_may_not(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line_of(new_key("a")[1]))
    settings = Settings(repository=repository, threads=1, cors_origins=f"http://x:1, {PAGE}", api_keys_file=file)
    with TestClient(create_app(settings)) as client:
        ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
        allowed = client.options("/v1/classify", headers={"Origin": PAGE, **ask})  # a browser sends no key here
        assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        assert allowed.headers["X-Request-Id"]
        refused = client.options("/v1/classify", headers={"Origin": OTHER, **ask})
        assert (refused.status_code, "Access-Control-Allow-Origin" in refused.headers) == (400, False)
        told = client.post("/v1/classify", headers={"Origin": PAGE})  # without leave to read it, no one knew why
        assert (told.status_code, told.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
        assert "Access-Control-Allow-Credentials" not in told.headers


@pytest.mark.parametrize("origins", [PAGE, "*"])
def test_any_request_header_is_allowed_and_no_cookie(repository: Path, origins: str) -> None:
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


def test_what_the_application_did_not_write_is_for_the_same_pages() -> None:
    some, any_ = Origins.parse(f"http://x:1, {PAGE}"), Origins.parse("*")
    assert some.headers(PAGE)[b"access-control-allow-origin"] == PAGE.encode()
    assert some.headers(PAGE)[b"vary"] == b"Origin"
    assert some.headers(OTHER) == some.headers("") == {b"vary": b"Origin"}
    assert any_.headers("")[b"access-control-allow-origin"] == b"*"


def test_any_origin_may_be_allowed(repository: Path) -> None:
    with TestClient(create_app(Settings(repository=repository, threads=1, cors_origins="*"))) as client:
        assert client.get("/v1/models", headers={"Origin": OTHER}).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", ["page.example", f"{PAGE}/", f"{PAGE},", "https://*.example", f"*,{PAGE}", "null"])
def test_what_is_not_an_origin_stops_the_start(origins: str) -> None:
    with pytest.raises(AccessSettingError, match=r"CORS_ORIGINS has .*scheme://host"):
        create_app(Settings(cors_origins=origins))
