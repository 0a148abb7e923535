"""The view Encodings in a browser: heat maps of the artifact's constants, offsets, overlay, and export details."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from tests.browser.actions import choose
from tests.browser.conftest import opened
from tests.service.process import Running

PIXELS = "(map) => [...map.getContext('2d').getImageData(0, 0, map.width, map.height).data]"
SAMPLE_AT = (26, 37)  # query and key: (3, 2) and (4, 5) on a grid of 8 × 8


def stored(repository: Path, variant: str, name: str) -> NDArray[np.float16]:
    found: NDArray[np.float16] = np.load(repository / "digits" / variant / "1" / "baked" / f"{name}.npy")
    return found


def show(page: Page, variant: str) -> None:
    page.get_by_role("combobox", name="Variant").select_option(variant)
    expect(page.locator(".facts dd").first).to_have_text(variant)
    expect(page.locator("[aria-busy]")).to_have_count(0)


def formatted(value: float) -> str:
    """Format a value with three significant digits, like JavaScript's toPrecision for numbers of this size."""
    return f"{float(value):#.3g}".replace("-", "−")


def test_a_bias_has_values_offsets_and_colours(browser: Browser, server: Running, digits_repository: Path) -> None:
    bias = stored(digits_repository, "beit-table", "blocks.0.attention.encoding.table_baked")
    with opened(browser, server.url, "/#encodings") as page:
        show(page, "beit-table")
        maps = page.locator("canvas.map")
        expect(maps).to_have_count(len(bias))
        query, key = SAMPLE_AT
        maps.nth(1).focus()
        for _ in range(query):
            page.keyboard.press("ArrowDown")
        for _ in range(key):
            page.keyboard.press("ArrowRight")
        expect(page.locator(".readout").first).to_have_text(
            f"head 2, query {query}, key {key}, offset +1 rows, +3 columns: {formatted(bias[1, query, key])}"
        )
        pixels = np.reshape(maps.nth(1).evaluate(PIXELS), (*bias.shape[1:], 4))
        red = pixels[np.unravel_index(bias[1].argmax(), bias[1].shape)]
        blue = pixels[np.unravel_index(bias[1].argmin(), bias[1].shape)]
        assert red[0] > red[2]
        assert blue[2] > blue[0]
        box = maps.nth(0).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 128, box["y"] + box["height"] / 128)  # the first cell
        expect(page.locator(".readout").first).to_contain_text(
            f"head 1, query 0, key 0, offset +0 rows, +0 columns: {formatted(bias[0, 0, 0])}"
        )


def test_layers_are_fetched_when_selected(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/#encodings") as page:
        seen: list[str] = []
        page.on("request", lambda request: seen.append(request.url) if "/baked/" in request.url else None)
        show(page, "irpe-product-bias-k")
        assert len([url for url in seen if "irpe-product-bias-k" in url]) == 1
        with page.expect_response("**/baked/blocks.2.*"):
            page.get_by_role("combobox", name="Layer").select_option(index=2)
        expect(page.get_by_role("heading", name="blocks.2")).to_be_visible()


def test_the_overlay_follows_the_query_within_its_window(
    browser: Browser, server: Running, digits_repository: Path
) -> None:
    bias = stored(digits_repository, "swin-table", "stages.0.blocks.0.attention.encoding.table_baked")
    with opened(browser, server.url, "/#encodings") as page:
        choose(page)
        show(page, "swin-table")
        overlay = page.locator("canvas.overlay")
        expect(page.get_by_role("heading", name="over the picture")).to_be_visible()
        expect(page.get_by_text("Attention is limited to one of 16 windows.")).to_be_visible()
        overlay.focus()
        page.keyboard.press("ArrowRight")  # from (8, 8) to (8, 9): in its window of 4 × 4 the token (0, 1)
        best = int(bias[0, 1].argmax())
        down, right = best // 4, best % 4 - 1
        page.wait_for_timeout(50)
        text = overlay.get_attribute("aria-label") or ""
        assert text.startswith(
            f"Head 1, query at row 8, column 9: highest bias {formatted(bias[0, 1, best])}, {abs(down)} rows "
        )
        assert f"{abs(right)} columns {'left' if right < 0 else 'right'}" in text
        page.get_by_text("Numbers").last.click()
        cells = page.locator("section:has(canvas.overlay) td").all_inner_texts()
        assert cells == [f"{float(value):.2f}".replace("-", "−") for value in bias[0, 1]]


@pytest.mark.parametrize(
    ("variant", "description", "maps"),
    [
        ("rope", "the rotation of queries and keys", 1),
        ("irpe-product-contextual-k", "Query-dependent", 4),
        ("learned", "Similarity of positions", 2),
        ("sincos", "added to the tokens", 2),
    ],
)
def test_other_encodings_have_their_own_plots(
    browser: Browser, server: Running, variant: str, description: str, maps: int
) -> None:
    with opened(browser, server.url, "/#encodings") as page:
        show(page, variant)
        expect(page.locator("canvas.map")).to_have_count(maps)
        expect(page.locator(".view")).to_contain_text(description)
        expect(page.locator("canvas.overlay")).to_have_count(0)


def test_a_similarity_is_the_cosine_of_centred_tokens(
    browser: Browser, server: Running, digits_repository: Path
) -> None:
    tokens = stored(digits_repository, "learned", "position.table_baked")[0].astype(np.float64)
    centred = tokens - tokens.mean(axis=0)
    cosine = centred[2] @ centred[3] / np.linalg.norm(centred[2]) / np.linalg.norm(centred[3])
    with opened(browser, server.url, "/#encodings") as page:
        show(page, "learned")
        page.locator("figure.large canvas").focus()
        for press in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight"):
            page.keyboard.press(press)
        expect(page.locator(".readout").last).to_have_text(f"token 2, token 3: {formatted(cosine)}")


def test_details_of_the_export_are_shown(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, "/#encodings") as page:
        show(page, "none")
        expect(page.locator(".result").first).to_contain_text("This variant has no position constants")
        show(page, "rope")
        facts = page.locator(".facts").inner_text()
        # Wilson's interval of 348 of 360, by hand
        for fact in ("96.7 % (95 %: 94.3 % to 98.1 %), 360 images", "torch float64", "passed: ", "traced, "):
            assert fact in facts
