"""Table of accuracies in the README: from the shipped checkpoints, with shifted images."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from examples.digits import table
from examples.digits.table import BEGIN, END, PAPER, README, shift, write_table
from tests.conftest import DIGITS, VARIANTS


def test_the_table_agrees_with_the_shipped_checkpoints() -> None:
    rows = README.read_text().split(BEGIN)[1].split(END)[0].splitlines()
    for variant in VARIANTS:
        with safe_open(DIGITS / "checkpoints" / f"{variant}.safetensors", framework="pt") as checkpoint:
            metadata = checkpoint.metadata()
        accuracy, training = json.loads(metadata["accuracy"]), json.loads(metadata["training"])
        row = next(line for line in rows if line.startswith(f"| `{variant}` |"))
        assert f"| `{variant}` | {accuracy['top1']:.1%} |" in row
        assert f"| {training['parameters']:,} |" in row
        assert row.endswith(f"| {training['seconds']:.0f} |")


@pytest.mark.parametrize(("down", "across"), [(1, 0), (-1, 0), (0, 2), (0, -2)])
def test_a_shifted_image_is_filled_with_the_background(down: int, across: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    expected = np.full_like(images, PAPER)
    for y in range(32):
        for x in range(32):
            v, u = y - 4 * down, x - 4 * across
            if 0 <= v < 32 and 0 <= u < 32:
                expected[:, y, x] = images[:, v, u]
    assert np.array_equal(shift(images, down, across), expected)


def test_writing_the_table_does_not_change_the_rest_of_the_page(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path_factory.mktemp("page") / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr(table, "README", page)
    write_table(["| row |"])
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| variant |")
    assert "\n| row |\n" in text
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
