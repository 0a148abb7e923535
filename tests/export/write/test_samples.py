"""Sample images: copied unchanged, or refused with the reason."""

from pathlib import Path

import pytest

from examples.digits.samples import SAMPLES
from export.process.errors import ExportError
from export.write.samples import MOST_BYTES, MOST_SAMPLES, store_samples


def test_pictures_are_copied_in_order(tmp_path: Path) -> None:
    names = store_samples(SAMPLES, tmp_path / "samples")
    assert names == tuple(f"{digit}.png" for digit in range(10))
    for name in names:
        assert (tmp_path / "samples" / name).read_bytes() == (SAMPLES / name).read_bytes()
    assert store_samples(None, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.svg", b"<svg/>", "suffix .png, .jpg, .jpeg or .webp"),
        ("a b.png", (SAMPLES / "1.png").read_bytes(), "use letters, digits"),
        ("a.png", b"no picture", "a.png: "),
        ("a.png", bytes(MOST_BYTES + 1), "scale it down"),
    ],
)
def test_files_that_a_browser_cannot_show_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"--samples.*{reason}"):
        store_samples(tmp_path / "given", tmp_path / "samples")


@pytest.mark.parametrize("count", [0, MOST_SAMPLES + 1])
def test_an_empty_folder_or_too_many_pictures_are_refused(tmp_path: Path, count: int) -> None:
    (tmp_path / "given").mkdir()
    for number in range(count):
        (tmp_path / "given" / f"{number}.png").write_bytes(b"")
    with pytest.raises(ExportError, match=f"has {count} files, expected 1 to {MOST_SAMPLES}"):
        store_samples(tmp_path / "given", tmp_path / "samples")
