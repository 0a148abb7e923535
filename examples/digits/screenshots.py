"""`python -m examples.digits.screenshots ADDRESS`: write docs/pictures/page-*.png from a running `make demo`.

Requires chromium and the extra `dev`. Files have a palette of 256 colours, to be small.
"""

import argparse
import io
import shutil
import sys
import threading
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from examples.digits.samples import SAMPLES

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = (1280, 800)
COLOURS = 256
SECONDS_OF_LOAD = 45


def main() -> int:
    """Write one PNG of each view, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.screenshots")
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8000")
    address = parser.parse_args().address
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed; apt-get install chromium", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(address)
        page.set_input_files("input[type=file]", str(SAMPLES / "7.png"))
        page.locator(".best").wait_for()
        save(page, "page-classify")
        page.goto(f"{address}/#compare")
        page.locator(".compared").wait_for()
        save(page, "page-compare")
        page.goto(f"{address}/#encodings")
        page.locator(".controls select").first.select_option("beit-table")
        page.get_by_role("heading", name="blocks.0.attention.encoding.table, 4 heads").wait_for()
        page.wait_for_timeout(500)
        save(page, "page-encodings")
        page.goto(f"{address}/#latency")
        page.locator(".overview").wait_for()
        under_load(page, address)
        save(page, "page-latency")
        page.set_viewport_size({"width": 390, "height": 800})
        page.emulate_media(color_scheme="dark")
        page.goto(f"{address}/#encodings")
        page.locator("canvas.overlay").wait_for()
        page.wait_for_timeout(1000)
        page.locator("canvas.overlay").evaluate("(overlay) => overlay.scrollIntoView({ block: 'center' })")
        save(page, "page-narrow")
        browser.close()
    return 0


def under_load(page: Page, address: str) -> None:
    """Send requests to several variants while the page is open."""
    done = threading.Event()
    image = (SAMPLES / "7.png").read_bytes()

    def send(variant: str, pause: float) -> None:
        while not done.wait(pause):
            headers = {"Content-Type": "image/png"}
            url = f"{address}/v1/classify?variant={variant}"
            request = urllib.request.Request(url, image, headers)  # noqa: S310 -- an http address
            urllib.request.urlopen(request).read()  # noqa: S310

    load = (("beit-table", 0.02), ("rope", 0.05), ("swin-table", 0.1), ("learned", 0.2))
    threads = [threading.Thread(target=send, args=each) for each in load]
    for thread in threads:
        thread.start()
    page.locator(".controls select").first.select_option("beit-table/1")
    page.wait_for_timeout(1000 * SECONDS_OF_LOAD)
    done.set()
    for thread in threads:
        thread.join()


def save(page: Page, name: str) -> None:
    """Write `docs/pictures/NAME.png`."""
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
