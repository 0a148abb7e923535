"""The view Latency in a browser: data of /v1/latency, fetched every two seconds while visible."""

import httpx2
from playwright.sync_api import Browser, expect

from tests.browser.actions import SEVEN
from tests.browser.conftest import opened
from tests.service.process import Running


def classify(server: Running, times: int = 1) -> None:
    for _ in range(times):
        assert httpx2.post(f"{server.url}/v1/classify?variant=rope", content=SEVEN.read_bytes()).status_code == 200


def test_numbers_equal_those_of_the_api(browser: Browser, server: Running) -> None:
    classify(server, 5)
    refused = httpx2.post(f"{server.url}/v1/classify?variant=rope", content=b"no")
    assert refused.status_code == 400
    with opened(browser, server.url, "/#latency") as page:
        row = page.get_by_role("row").filter(has=page.get_by_role("button", name="rope", exact=True))
        row.get_by_role("button").click()
        report = httpx2.get(f"{server.url}/v1/latency?variant=rope").json()["versions"][0]
        shown = [float(text) for text in row.locator(".number").all_inner_texts()[:3]]
        expected = [report["recent"]["stages"]["total"][name] for name in ("p50", "p95", "p99")]
        assert all(abs(one - other) <= max(0.006, 0.01 * other) for one, other in zip(shown, expected, strict=True))
        assert row.locator(".number").all_inner_texts()[4:] == ["0", str(report["rejected"])]
        assert report["rejected"] >= 1
        page.get_by_label("Stage").select_option("inference")
        p50 = report["recent"]["stages"]["inference"]["p50"]
        expect(page.locator(".figures strong").first).to_have_text(f"{p50:.2f}" if p50 < 10 else f"{p50:.1f}")


def test_the_request_rate_follows_the_load_and_charts_are_drawn(browser: Browser, server: Running) -> None:
    classify(server)
    with opened(browser, server.url, "/#latency") as page:
        with page.expect_response("**/v1/latency*"):
            page.get_by_role("combobox", name="Variant").select_option("rope/1")
        classify(server, 20)
        rate = page.locator(".charts section").nth(1).locator("strong").first
        expect(rate).not_to_have_text("–")
        page.wait_for_timeout(2500)
        lines = page.locator("svg.lines path").evaluate_all("all => all.map((one) => one.getAttribute('d'))")
        assert len(lines) == 5
        assert all(line.startswith("M") and "L" in line and "NaN" not in line for line in lines)
        page.get_by_text("Numbers").last.click()
        rows = page.locator(".charts section").nth(1).locator("tbody tr td:nth-child(2)").all_inner_texts()
        assert any(text != "–" and float(text) > 1 for text in rows)


def test_no_requests_are_sent_while_another_view_is_shown(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/#latency") as page:
        seen: list[str] = []
        expect(page.locator(".overview")).to_be_visible()
        page.on("request", lambda request: seen.append(request.url))
        with page.expect_request("**/v1/latency*"):
            pass
        page.get_by_role("link", name="Compare").click()
        page.wait_for_timeout(300)  # a request in progress
        seen.clear()
        page.wait_for_timeout(2500)
        assert seen == []
