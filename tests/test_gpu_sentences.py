"""docs/gpu.md quotes the documentation's statements about GPUs and names the check of each."""

import re

import pytest

from benchmarks.gpu_check import PARTS
from tests.test_docs import PAGES, ROOT

TEXT = (ROOT / "docs/gpu.md").read_text()
ROWS = [
    (page, quote, [name.strip("` ") for name in checks.split(",")])
    for page, quote, checks in re.findall(
        r'^\| ([\w./-]+\.md) \| "(.+?)" \|.*\| ([^|]+) \|$', TEXT.partition("## GPU sentences")[2], re.MULTILINE
    )
]
MENTIONS = re.compile(r"\bGPUs?\b")


@pytest.mark.parametrize(("page", "quote", "checks"), ROWS, ids=[quote for _, quote, _ in ROWS])
def test_each_sentence_is_in_its_page_and_names_its_check(page: str, quote: str, checks: list[str]) -> None:
    assert quote in " ".join((ROOT / page).read_text().split())
    for check in checks:
        assert check == "by hand" or check in {part.name for part in PARTS} or (ROOT / check).is_file(), check


def test_every_page_that_mentions_gpus_is_quoted() -> None:
    mentioned = {page.relative_to(ROOT).as_posix() for page in PAGES if MENTIONS.search(page.read_text())}
    assert mentioned - {"docs/gpu.md", "CONTRIBUTING.md", "docs/README.md"} <= {page for page, _, _ in ROWS}
    assert len(ROWS) == TEXT.partition("## GPU sentences")[2].count("\n| ") - 2


def test_every_part_of_the_check_is_described() -> None:
    table = TEXT.partition("| part |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines() if "|" in row))) == {
        part.name for part in PARTS
    }
