"""Errors in a browser: the API's messages with a remedy, and a page that still works afterwards."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from deploy.engines import free_port
from service.auth.keyfile import line_of, new_key
from tests.browser.actions import SEVEN, best_class, choose, expect_problem
from tests.browser.conftest import opened
from tests.service.process import Running, serving

MOST_BYTES = 50_000
DELAY_MS = 4000


@pytest.fixture(scope="module")
def limited(one_variant: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Server with small limits: a small body, one image in the queue, and a long batch delay."""
    flags = ("--max-body-bytes", str(MOST_BYTES), "--max-queue", "1", "--batch-delay-ms", str(DELAY_MS))
    with serving(
        tmp_path_factory.mktemp("limited"), "--port", "0", "--repository", str(one_variant), "--threads", "2", *flags
    ) as running:
        yield running


@pytest.mark.parametrize("view", ["classify", "compare"])
def test_a_damaged_file_is_explained(browser: Browser, server: Running, tmp_path: Path, view: str) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(SEVEN.read_bytes()[:200])
    sentence = httpx2.post(f"{server.url}/v1/classify", content=damaged.read_bytes()).json()["detail"]
    with opened(browser, server.url, f"/#{view}", (400,)) as page:
        choose(page, damaged)
        expect_problem(page, "Not an image (400)", sentence, "Choose a JPEG, PNG")
        choose(page)
        expect(page.locator(".best, .agreement")).to_contain_text("7")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_file_over_the_limit_is_explained(browser: Browser, limited: Running, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(SEVEN.read_bytes() + bytes(MOST_BYTES))
    with opened(browser, limited.url, "/", (413,)) as page:
        choose(page, large)
        expect_problem(page, "Body too large (413)", f"{MOST_BYTES}", "Choose a smaller file")


def test_a_passed_deadline_is_explained_and_can_be_changed(browser: Browser, limited: Running) -> None:
    with opened(browser, limited.url, "/", (504,)) as page:
        page.get_by_label("Deadline, ms").fill("50")
        choose(page)
        expect_problem(page, "(504)", "50 ms", "Raise the deadline")
        page.get_by_label("Deadline, ms").fill("")
        page.get_by_label("Deadline, ms").press("Enter")
        assert best_class(page) == "7"


def test_a_full_queue_is_explained_and_the_request_can_be_repeated(browser: Browser, limited: Running) -> None:
    with opened(browser, limited.url, "/", (429,)) as page:
        page.get_by_label("Variant").wait_for()
        first = threading.Thread(
            target=httpx2.post,
            args=(f"{limited.url}/v1/classify",),
            kwargs={"content": SEVEN.read_bytes(), "timeout": 30},
        )
        first.start()
        while httpx2.get(f"{limited.url}/v1/latency").json()["versions"][0]["queued"] != 1:
            pass
        choose(page)
        expect_problem(page, "Queue full (429)", "The server is busy.", "Try again in ")
        first.join()
        page.get_by_role("button", name="Try again").click()
        assert best_class(page) == "7"


def test_the_page_works_again_after_a_server_restart(browser: Browser, one_variant: Path, tmp_path: Path) -> None:
    port = free_port()
    flags = ("--port", str(port), "--repository", str(one_variant), "--threads", "1")
    origin = f"http://127.0.0.1:{port}"
    with serving(tmp_path, *flags):
        httpx2.post(f"{origin}/v1/classify", content=SEVEN.read_bytes())
        manager = opened(browser, origin, "/#latency", (503,), server_stops=True)
        page = manager.__enter__()
        expect(page.locator(".overview")).to_contain_text("rope")
    expect_problem(page, "The server does not respond", f"No response from 127.0.0.1:{port}")
    page.get_by_role("link", name="Classify").click()
    choose(page)
    expect_problem(page, "The server does not respond")
    with serving(tmp_path, *flags):
        page.get_by_role("button", name="Try again").click()
        assert best_class(page) == "7"
        page.get_by_role("link", name="Latency").click()
        expect(page.get_by_role("alert")).to_have_count(0)
        manager.__exit__(None, None, None)


def test_an_api_key_is_requested_and_kept_in_memory_only(browser: Browser, one_variant: Path, tmp_path: Path) -> None:
    secret, key = new_key("alice", admin=True)
    (tmp_path / "keys").write_text(line_of(key))
    flags = (
        "--port",
        "0",
        "--repository",
        str(one_variant),
        "--threads",
        "1",
        "--api-keys-file",
        str(tmp_path / "keys"),
    )
    with serving(tmp_path, *flags) as running, opened(browser, running.url, "/", (401, 404)) as page:
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("this server requires an API key")
        dialog.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("API key rejected")
        expect(dialog).to_contain_text("the API key is unknown")
        dialog.get_by_label("API key").fill(secret)
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        choose(page)
        assert best_class(page) == "7"
        assert secret not in page.content()
        line = page.locator(".curl code").inner_text()
        assert '-H "X-API-Key: $POSBAKE_KEY"' in line
        assert page.evaluate("[...Object.values(localStorage), ...Object.values(sessionStorage), document.cookie]") == [
            ""
        ]
        page.reload()
        expect(page.get_by_role("dialog")).to_contain_text("this server requires an API key")
        page.keyboard.press("Escape")
        expect_problem(page, "Key required (401)")
        page.get_by_role("button", name="Try again").click()
        page.get_by_role("dialog").get_by_label("API key").fill(secret)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_count(0)
        unload = f"{running.url}/v2/repository/models/digits/unload"
        httpx2.post(unload, headers={"X-API-Key": secret}).raise_for_status()
        choose(page)
        expect_problem(page, "Unknown name (404)", "Reload the page")
        page.reload()
        page.get_by_role("dialog").get_by_label("API key").fill(secret)
        page.keyboard.press("Enter")
        expect_problem(page, "No models", "/v1/models lists the refused artifacts")
