"""Selection of one of several models, which applies to every view."""

import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.browser.actions import best_class, choose
from tests.browser.conftest import opened
from tests.service.process import serving


def test_every_view_uses_the_selected_model(browser: Browser, one_variant: Path, tmp_path: Path) -> None:
    repository = tmp_path / "two"
    shutil.copytree(one_variant, repository)
    shutil.copytree(one_variant / "digits", repository / "numbers")
    manifest = repository / "numbers" / "rope" / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"model": "digits"', '"model": "numbers"'))
    flags = ("--port", "0", "--repository", str(repository), "--threads", "1")
    with serving(tmp_path, *flags) as running, opened(browser, running.url) as page:
        chosen = page.get_by_role("combobox", name="Model")
        expect(chosen).to_have_value("digits")
        choose(page)
        assert best_class(page) == "7"
        with page.expect_request("**/v1/classify?model=numbers*"):
            chosen.select_option("numbers")
        assert best_class(page) == "7"
        expect(page.locator(".curl code")).to_contain_text("model=numbers")
        with page.expect_request("**/v1/compare?model=numbers*"):
            page.get_by_role("link", name="Compare").click()
        expect(page.locator(".agreement")).to_have_text("The variant finds 7.")
        with page.expect_request("**/v1/models/numbers/variants/rope/baked/*"):
            page.get_by_role("link", name="Encodings").click()
        with page.expect_request("**/v1/latency?model=numbers"):
            page.get_by_role("link", name="Latency").click()
        expect(page.locator(".overview")).to_contain_text("rope")
