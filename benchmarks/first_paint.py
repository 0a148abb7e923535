"""`python -m benchmarks.first_paint`: time to the first paint of the page on localhost, in Chromium.

The service serves the digits variants in `--repository`. Each first load has a new browser context, so that nothing
is cached; `again` is a second load in the same context, with files revalidated by ETag. Times are those of the
browser's Performance API, in ms since the start of navigation: first paint, first contentful paint (the header), end
of the `load` event, and complete view (controls usable, all samples drawn).
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.service_process import served
from examples.digits.train import machine

ROUNDS = 15
COLUMNS = ("first paint", "contentful", "load", "view")

PAINTS = """
() => {
  const at = (name) => performance.getEntriesByName(name)[0].startTime;
  const [navigation] = performance.getEntriesByType("navigation");
  return [at("first-paint"), at("first-contentful-paint"), navigation.loadEventEnd, performance.now()];
}
"""
"""The four times of COLUMNS; evaluated once the view is complete."""


def main(arguments: list[str] | None = None) -> int:
    """Print median and maximum of each time and return 0; return 1 if chromium is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_paint")
    parser.add_argument("--repository", type=Path, default=Path("artifacts"))
    repository = parser.parse_args(arguments).repository
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed; apt-get install chromium", file=sys.stderr)
        return 1
    rows: dict[str, list[list[float]]] = {"first load": [], "again": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        served(repository, Path(folder) / "log") as service,
        sync_playwright() as playwright,
    ):
        address = f"http://127.0.0.1:{service.port}"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for number in range(ROUNDS + 1):
            context = browser.new_context()
            page = context.new_page()
            for found in rows.values():
                times = load(page, address)
                if number:  # the first load includes the start of the browser's processes
                    found.append(times)
            context.close()
        print(f"{datetime.now(UTC).date()}, {machine()}, Chromium {browser.version}, {ROUNDS} loads each\n")
        browser.close()
    print("| | " + " | ".join(f"{name}, ms" for name in COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for name, found in rows.items():
        cells = [f"{statistics.median(times):.0f} (at most {max(times):.0f})" for times in zip(*found, strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


def load(page: Page, address: str) -> list[float]:
    """Load the page and return its times."""
    page.goto("about:blank")
    page.goto(address)
    page.locator(".samples img").last.wait_for()
    page.locator(".controls select").first.wait_for()
    times: list[float] = page.evaluate(PAINTS)
    return times


if __name__ == "__main__":
    sys.exit(main())
