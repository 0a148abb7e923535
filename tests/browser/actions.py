"""Actions of a user on the page, and its visible results."""

import base64
from pathlib import Path

from playwright.sync_api import Page, expect

from examples.digits.samples import SAMPLES

SEVEN = SAMPLES / "7.png"

FILE_EVENT = """
([name, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  const event = name === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}
"""


def choose(page: Page, file: Path = SEVEN) -> None:
    page.set_input_files("input[type=file]", str(file))


def drop_or_paste(page: Page, event: str, file: Path = SEVEN) -> None:
    """Drop or paste a file; `event` is `drop` or `paste`."""
    page.evaluate(FILE_EVENT, [event, base64.b64encode(file.read_bytes()).decode()])


def best_class(page: Page) -> str:
    """Wait for a result, and return its class."""
    expect(page.locator("[aria-busy]")).to_have_count(0)
    return page.locator(".best").inner_text()


def expect_problem(page: Page, *sentences: str) -> None:
    """Expect an error message that contains these sentences."""
    box = page.get_by_role("alert")
    for sentence in sentences:
        expect(box.first).to_contain_text(sentence)
