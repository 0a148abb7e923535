"""Chromium, and the service as a process; errors in a page's console and requests to other hosts fail a test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.service.process import Running, serving

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
"""The shell is Chromium without its window; it takes less time."""
FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PATIENCE_MS = 20_000

_STATUS = "Failed to load resource: the server responded with a status of "
_REFUSED = "Failed to load resource: net::ERR_CONNECTION_REFUSED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them without a browser, which CI requires."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            if CHROMIUM is None and "CI" not in os.environ:
                item.add_marker(pytest.mark.skip(reason="run apt-get install chromium-headless-shell"))


@pytest.fixture(scope="package")  # Playwright's event loop runs until then; other packages start their own
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@dataclass
class Watch:
    """Requests of a page, and its console messages, of which a working page has none."""

    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def on_message(self, message: ConsoleMessage) -> None:
        self.messages.append(f"{message.type}: {message.text}")

    def check(self, origin: str, statuses: tuple[int, ...], *, server_stops: bool) -> None:
        """Assert that no other origin got a request, and that all messages are of expected statuses.

        Chromium logs every status from 400 in its console, even if the page handles it, and every violation of the
        content security policy.
        """
        foreign = [url for url in self.requests if not url.startswith((origin, "blob:" + origin, "data:"))]
        assert foreign == []
        allowed = tuple(f"error: {_STATUS}{status}" for status in statuses) + (
            (f"error: {_REFUSED}",) if server_stops else ()
        )
        assert [message for message in self.messages if not message.startswith(allowed or "\0")] == []


class ContextOptions(TypedDict, total=False):
    """Options of a browser's context."""

    bypass_csp: bool
    color_scheme: Literal["light", "dark"]
    permissions: list[str]


@contextmanager
def opened(
    browser: Browser,
    origin: str,
    path: str = "/",
    statuses: tuple[int, ...] = (),
    *,
    server_stops: bool = False,
    **options: Unpack[ContextOptions],
) -> Iterator[Page]:
    """Open a page in a new context, and check its requests and messages at the end.

    Args:
        browser: the shared browser.
        origin: `http://host:port` of the server.
        path: path of the page, with its fragment.
        statuses: error statuses that the test causes.
        server_stops: whether the test stops the server.
        options: options of the browser's context.
    """
    watch = Watch()
    context = browser.new_context(base_url=origin, **options)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", watch.on_request)
        page.on("console", watch.on_message)
        page.on("pageerror", lambda error: watch.messages.append(f"error: {error}"))
        page.goto(path)
        yield page
        watch.check(origin, statuses, server_stops=server_stops)
    finally:
        context.close()


@pytest.fixture(scope="session")
def server(digits_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Service with every digits variant, as started by `make demo`."""
    flags = ("--port", "0", "--repository", str(digits_repository), "--threads", "2", "--reload-seconds", "0")
    with serving(tmp_path_factory.mktemp("server"), *flags) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture(scope="session")
def one_variant(digits_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repository with one variant, with which a server starts quickly."""
    repository = tmp_path_factory.mktemp("one")
    shutil.copytree(digits_repository / "digits" / "rope", repository / "digits" / "rope")
    return repository
