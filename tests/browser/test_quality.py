"""Accessibility in both colour schemes and three widths, path prefixes, layout stability, and the API page."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.actions import best_class, choose
from tests.browser.conftest import opened
from tests.service.process import Running
from tests.service.transport.proxies import behind_nginx

VIEWS = ("classify", "compare", "encodings", "latency")
SIZES = ((360, 740), (1280, 800), (3840, 2160))
RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}

CONTRAST = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": ["color-contrast"]}}

WIDTHS = (360, 768, 1280, 1920, 3840)
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const moved = entry.sources.map(({ node }) => `${node?.nodeName}.${node?.className}`);
    window.shifts.push(`${location.hash} ${entry.value}: ${moved.join(" ")}`);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


def go(page: Page, view: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=view.capitalize()).click()
    wait_until_shown(page, view)


def wait_until_shown(page: Page, view: str) -> None:
    shown = {"classify": ".best", "compare": ".compared", "encodings": ".facts-table", "latency": ".overview"}
    expect(page.locator(shown[view])).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)


def findings(page: Page, rules: Mapping[str, object] = RULES) -> list[str]:
    violations = Axe().run(page, options=dict(rules)).response["violations"]
    return [f"{found['id']}: {found['help']}: {node['html'][:200]}" for found in violations for node in found["nodes"]]


def test_the_api_page_follows_the_colour_scheme(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/docs") as page:
        page.get_by_text("/v1/compare").first.wait_for()
        root = page.locator(".swagger-ui").first
        page.emulate_media(color_scheme="dark")
        expect(root).to_have_css("background-color", "rgb(28, 32, 34)")  # Swagger UI's own
        page.emulate_media(color_scheme="light")
        expect(root).to_have_css("background-color", "rgba(0, 0, 0, 0)")


@pytest.mark.parametrize("view", VIEWS)
def test_axe_has_no_findings_and_the_page_does_not_scroll_sideways(
    browser: Browser, server: Running, view: str
) -> None:
    with opened(browser, server.url, bypass_csp=True) as page:
        choose(page)
        go(page, view)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.emulate_media(color_scheme="light")
            assert findings(page) == [], width
            page.emulate_media(color_scheme="dark")  # only colours change
            assert findings(page, CONTRAST) == [], width


def test_axe_finds_low_contrast(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, bypass_csp=True) as page:
        choose(page)
        best_class(page)
        page.evaluate("() => { document.querySelector('.by').style.color = '#ddd'; }")
        assert any("color-contrast" in found for found in findings(page))


def test_errors_and_dialogs_are_accessible(browser: Browser, server: Running, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"no")
    with opened(browser, server.url, "/", (400,), bypass_csp=True) as page:
        choose(page, tmp_path / "damaged.png")
        expect(page.get_by_role("alert")).to_be_visible()
        assert findings(page) == []
        page.get_by_role("button", name="Camera").click()
        expect(page.get_by_role("button", name="Take picture")).to_be_enabled()
        assert findings(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_layout_does_not_shift_while_the_page_loads_or_shows_a_result(
    browser: Browser, server: Running, width: int
) -> None:
    with opened(browser, server.url, "about:blank") as page:
        page.set_viewport_size({"width": width, "height": 800})
        page.add_init_script(SHIFTS)
        page.goto(server.url)
        expect(page.locator(".samples img")).to_have_count(10)
        for view in VIEWS:
            page.evaluate("view => { location.hash = view; }", view)
            if view == VIEWS[0]:
                choose(page)
            wait_until_shown(page, view)
        if width == WIDTHS[0]:
            page.wait_for_timeout(2500)  # /v1/latency is fetched again
        assert page.evaluate("window.shifts") == []
        page.evaluate("document.querySelector('.layout').style.marginTop = '99px'")
        page.wait_for_timeout(500)
        assert page.evaluate("window.shifts") != []  # shifts are detected


def test_all_requests_have_the_prefix_of_a_proxy(browser: Browser, server: Running, tmp_path: Path) -> None:
    with behind_nginx(server, tmp_path) as proxy, opened(browser, proxy.plain, "/ml/") as page:
        seen: list[str] = []
        page.on("request", lambda request: seen.append(request.url))
        choose(page)
        assert best_class(page) == "7"
        for view in VIEWS:
            go(page, view)
            if view in {"classify", "compare"}:
                assert f"'{proxy.plain}/ml/v1/{view}?" in page.locator(".curl code").inner_text()
        page.get_by_role("link", name="API").click()
        page.get_by_text("/v1/compare").first.wait_for()
        assert [url for url in seen if not url.startswith((f"{proxy.plain}/ml/", "blob:", "data:"))] == []


def test_the_api_page_sends_requests_and_loads_nothing_from_other_hosts(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/docs") as page:
        page.get_by_role("button", name="get /health/live").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
