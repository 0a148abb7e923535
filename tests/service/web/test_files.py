"""Files of the page: ETags, the security policy, and allowed contents."""

import re
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.problems.errors import StartupError
from service.transport.pages import page_headers
from service.web.files import STATIC, swagger_files

MOST_BYTES = 120_000
PAGES = ("/", "/docs")


def policy_of(value: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in (part.split() for part in value.split(";"))}


def linked(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', html)


def test_the_policy_allows_files_of_this_server_and_generated_images_only() -> None:
    policy = policy_of(page_headers()["Content-Security-Policy"])
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert policy["img-src"] == ["'self'", "data:", "blob:"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]


@pytest.mark.parametrize("path", [*PAGES, "/web/main.js", "/web/page.css", "/web/swagger-ui-bundle.js"])
def test_a_cached_file_is_not_sent_again(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.status_code == 200
    assert first.headers["Content-Security-Policy"] == page_headers()["Content-Security-Policy"]
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert first.headers["Cache-Control"] == "no-cache"
    for known in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
        again = client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_inline_script_or_style_and_relative_urls_only(client: TestClient, path: str) -> None:
    html = client.get(path).text
    assert not re.search(r"<style|style=|<script>|<script type=\"module\">|\son[a-z]+=", html)
    urls = [url for url in linked(html) if url != "data:,"]
    assert urls
    assert not [url for url in urls if url.startswith(("/", "http", "//"))]
    for url in urls:
        assert client.get(f"/{url}").status_code == 200, url


def test_modules_import_each_other_only_and_are_preloaded(client: TestClient) -> None:
    modules = {path.name for path in STATIC.glob("*.js")} - {"docs.js"}
    imported = {name for path in STATIC.glob("*.js") for name in re.findall(r'from "\./(.+)"', path.read_text())}
    assert imported == modules - {"main.js"}
    loaded = {url for url in linked(client.get("/").text) if url.endswith(".js")}
    assert loaded == {f"web/{module}" for module in modules}


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "docs.html", "..%2ffiles.py", "%2e%2e/files.py"])
def test_other_files_are_not_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/web/{name}")
    assert answer.status_code == 404
    assert "File" not in answer.text


def test_a_missing_package_of_swagger_ui_stops_the_start_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {path.name for path in swagger_files()} == {"swagger-ui-bundle.js", "swagger-ui.css"}
    damaged = ModuleSpec("fastapi_swagger", None, is_package=True)
    damaged.submodule_search_locations = [str(tmp_path)]
    for found in (None, damaged):
        monkeypatch.setattr("service.web.files.find_spec", lambda _name, found=found: found)
        with pytest.raises(StartupError, match="pip install fastapi-swagger, or install posbake's extra service"):
            swagger_files()
