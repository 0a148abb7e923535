"""The view Classify in a browser: selection of an image, options, and the equivalent curl command."""

import json
import re
import subprocess
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from examples.digits.prepare import prepare
from tests.browser.actions import SEVEN, best_class, choose, drop_or_paste
from tests.browser.conftest import opened
from tests.examples.test_prepare import photo
from tests.service.process import Running

PICTURE = """
() => {
  const image = document.querySelector(".drop img");
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return [...data].filter((_, index) => index % 4 === 0);
}
"""
"""Script that returns the red channel of the displayed image."""


def classify(server: Running, query: str = "") -> dict[str, object]:
    response = httpx2.post(f"{server.url}/v1/classify?{query}", content=SEVEN.read_bytes())
    assert response.status_code == 200
    answer: dict[str, object] = response.json()
    return answer


def shown_classes(page: Page) -> list[tuple[str, str]]:
    rows = page.locator(".classes li")
    return [
        (rows.nth(i).locator(".name").inner_text(), rows.nth(i).locator(".number").inner_text())
        for i in range(rows.count())
    ]


def expected_classes(answer: dict[str, object]) -> list[tuple[str, str]]:
    predictions = answer["predictions"]
    assert isinstance(predictions, list)
    return [(found["label"], f"{100 * found['probability']:.1f} %") for found in predictions]


@pytest.mark.parametrize("action", ["choose", "drop", "paste"])
def test_an_image_is_classified_as_by_the_api(browser: Browser, server: Running, action: str) -> None:
    with opened(browser, server.url) as page:
        choose(page) if action == "choose" else drop_or_paste(page, action)
        assert best_class(page) == "7"
        assert shown_classes(page) == expected_classes(classify(server))
        assert f" · 32 × 32 · {SEVEN.stat().st_size / 1000:.1f} kB" in page.locator(".about").inner_text()


def test_a_picture_can_be_taken_with_the_camera(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        page.get_by_role("button", name="Camera").click()
        page.get_by_role("button", name="Take picture").click()
        expect(page.locator("dialog")).to_have_count(0)
        assert best_class(page)
        expect(page.locator(".about")).to_contain_text("camera.png · ")


def test_options_are_parameters_of_the_request(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        choose(page)
        page.get_by_label("Variant").select_option("rope")
        page.get_by_label("Classes", exact=True).fill("2")
        page.get_by_label("Classes", exact=True).press("Enter")
        expect(page.locator(".classes li")).to_have_count(2)
        expect(page.locator(".by")).to_have_text("by rope, version 1")
        assert shown_classes(page) == expected_classes(classify(server, "variant=rope&top_k=2"))
        page.get_by_label("Variant").select_option("auto")
        page.get_by_label("Deadline, ms").fill("20000")
        page.get_by_label("Deadline, ms").press("Enter")
        selection = page.get_by_role("region", name="Selection")
        expect(selection.get_by_role("row").nth(1)).to_contain_text(re.compile("swin-log-cpb.*98.6 %.*chosen"))


def test_stages_and_details_are_those_of_the_response(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        seen: list[str] = []

        def keep(route: Route) -> None:
            response = route.fetch()
            seen.append(response.text())
            route.fulfill(response=response)

        page.route("**/v1/classify*", keep)
        choose(page)
        assert best_class(page) == "7"
        answer = json.loads(seen[0])
        names, numbers = (page.locator(f".legend {part}").all_inner_texts() for part in ("dt", "dd"))
        shown = dict(zip(names, numbers, strict=True))
        for stage, milliseconds in answer["latency_ms"].items():
            assert float(shown[stage].removesuffix(" ms")) == pytest.approx(milliseconds, rel=0.01, abs=0.006)
        widths = page.locator("svg.stages rect").evaluate_all(
            "all => all.map((one) => parseFloat(one.getAttribute('width')))"
        )
        assert sum(widths) == pytest.approx(100, abs=1)
        facts = page.locator(".facts").inner_text()
        for name in ("encoding", "backend", "precision", "id"):
            assert answer[name] in facts


def test_the_curl_command_gives_the_same_result(browser: Browser, server: Running) -> None:
    with opened(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        choose(page)
        best_class(page)
        page.get_by_role("button", name="Copy").click()
        expect(page.locator(".said")).to_have_text("Copied.")
        line = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(
        ["bash", "-c", line], cwd=SEVEN.parent, capture_output=True, text=True, check=True, timeout=20
    )
    assert '"label":"7"' in done.stdout


def test_without_clipboard_permission_the_command_is_selected(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        choose(page)
        best_class(page)
        page.get_by_role("button", name="Copy").click()
        expect(page.locator(".said")).to_contain_text("Selected")
        assert page.evaluate("getSelection().toString()") == page.locator(".curl code").inner_text()


def test_everything_works_by_keyboard(browser: Browser, server: Running) -> None:
    with opened(browser, server.url) as page:
        page.on("filechooser", lambda chooser: chooser.set_files(str(SEVEN)))
        page.get_by_label("Variant").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "drop"
        page.keyboard.press("Enter")  # the drop area is also a button
        assert best_class(page) == "7"
        page.get_by_role("link", name="Compare").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".agreement")).to_contain_text("variants find 7")


def test_a_photo_of_a_digit_can_be_prepared_and_the_prepared_image_is_shown(
    browser: Browser, server: Running, tmp_path: Path
) -> None:
    sheet = photo("3", "dark")
    sheet.paste(sheet.crop((200, 250, 420, 540)).resize((110, 145)), (20, 20))
    sheet.save(tmp_path / "photo.png")
    with opened(browser, server.url) as page:
        box = page.get_by_role("checkbox", name="Prepare a photo of one digit")
        box.check()
        choose(page, tmp_path / "photo.png")
        expect(page.locator(".about")).to_contain_text("prepared-photo.png · 32 × 32")
        with page.expect_download() as download:  # the file named in the curl command
            page.get_by_role("link", name="Save").click()
        assert download.value.suggested_filename == "prepared-photo.png"
        with Image.open(download.value.path()) as saved:
            assert saved.size == (32, 32)
        expect(page.locator(".note")).to_contain_text("The photo shows 2 signs; the largest is sent.")
        assert best_class(page) == "3"
        shown = np.reshape(page.evaluate(PICTURE), (8, 4, 8, 4)).mean(axis=(1, 3))  # browsers upscale differently
        expected = prepare(sheet).pixels[:, :, 0].reshape(8, 4, 8, 4).mean(axis=(1, 3))
        assert np.abs(shown - expected).mean() < 8
        box.uncheck()
        expect(page.locator(".about")).to_contain_text("photo.png · 600 × 800")
        Image.new("L", (50, 50), 200).save(tmp_path / "blank.png")
        box.check()
        choose(page, tmp_path / "blank.png")
        expect(page.locator(".note")).to_contain_text("Nothing stands out from the paper")
        expect(page.locator(".note")).to_contain_text("Trained on 1,437 scans")
