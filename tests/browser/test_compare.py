"""The view Compare in a browser: votes, differences, sorting and selection of variants."""

import io

import httpx2
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from examples.digits.export import VARIANTS
from tests.browser.actions import choose
from tests.browser.conftest import opened
from tests.service.process import Running

END = "({ x, width }) => x.baseVal.valueInSpecifiedUnits + width.baseVal.valueInSpecifiedUnits"
"""Script that returns the end of a segment of a stage bar, in percent."""


def ambiguous() -> bytes:
    """Return a noise image, which the variants classify as different digits."""
    pixels = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def column(page: Page, number: int) -> list[str]:
    return page.locator(f".compared tbody tr > *:nth-child({number})").all_inner_texts()


def test_differences_from_the_majority_are_marked(browser: Browser, server: Running) -> None:
    noise = ambiguous()
    votes = httpx2.post(f"{server.url}/v1/compare", content=noise).json()["agreement"]["votes"]
    assert len(votes) > 1
    with opened(browser, server.url, "/#compare") as page:
        page.set_input_files("input[type=file]", {"name": "noise.png", "mimeType": "image/png", "buffer": noise})
        expect(page.locator(".compared tbody tr")).to_have_count(len(VARIANTS))
        marked = page.locator(".compared tbody tr", has=page.locator(".differs")).locator("th").all_inner_texts()
        majority = votes[0]["variants"] if len(votes[0]["variants"]) > len(votes[1]["variants"]) else VARIANTS
        assert set(marked) == set(VARIANTS) - set(majority)
        assert f"{len(votes[0]['variants'])} of {len(VARIANTS)} variants find {votes[0]['label']}." in page.content()


def test_rows_are_sorted_by_latency_probability_and_accuracy(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/#compare") as page:
        choose(page)
        expect(page.locator(".agreement")).to_have_text(f"All {len(VARIANTS)} variants find 7.")
        for name, number, descending in (("Total, ms", 5, False), ("Accuracy", 6, True), ("Probability", 3, True)):
            head = page.get_by_role("columnheader", name=name)
            if head.get_attribute("aria-sort") is None:
                head.get_by_role("button").press("Enter")
            expect(head).to_have_attribute("aria-sort", "descending" if descending else "ascending")
            values = [float(text.removesuffix(" %")) for text in column(page, number)]
            assert values == sorted(values, reverse=descending)
        head.get_by_role("button").press("Enter")
        expect(head).to_have_attribute("aria-sort", "ascending")
        assert page.evaluate("document.activeElement.dataset.sort") == "probability"


def test_some_variants_are_compared_on_one_scale(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/#compare") as page:
        page.get_by_text("Choose variants").first.click()
        page.get_by_role("button", name="First only").click()
        page.get_by_role("checkbox", name="rope").check()
        with page.expect_request("**/v1/compare*") as waiting:
            choose(page)
        assert waiting.value.url.endswith(f"variants={VARIANTS[0]},rope&top_k=3")
        expect(page.locator(".compared tbody tr")).to_have_count(2)
        ends = page.locator("svg.stages").evaluate_all(
            f"all => all.map((one) => Math.max(...[...one.children].map({END})))"
        )
        assert max(ends) > 99
        page.get_by_role("checkbox", name="rope").uncheck()
        page.get_by_role("checkbox", name=VARIANTS[0]).uncheck()
        expect(page.locator(".result")).to_have_text("Choose at least one variant.")
