"""Image files below directories: their order, and the memory of the search."""

import os
from pathlib import Path

import pytest

from artifact.opening import UnreadableFileError
from service.offline import files
from service.offline.done import DonePaths
from service.offline.files import ImageFile, image_files, read_image
from tests.artifact.privileges import permissions_count


def names(folder: Path) -> list[str]:
    return [str(Path(file.path).relative_to(folder)) for file in image_files([folder])]


def test_images_are_sorted_with_subdirectories_in_place_of_their_names(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.jpeg", "a/b/c.tif", "c.webp", "c.txt", "Z.gif", "a.png", ".hidden.bmp", "noimage"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path) == [".hidden.bmp", "Z.gif", "a/b/c.tif", "a/z.jpeg", "a.png", "b.PNG", "c.webp"]


@pytest.mark.parametrize("part", [1, 2, 7, 8])
def test_a_directory_sorted_in_parts_has_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    for number in range(7):
        (tmp_path / f"{number * 5 % 7}.png").touch()
    monkeypatch.setattr(files._entries, "__defaults__", (part,))
    assert names(tmp_path) == [f"{number}.png" for number in range(7)]


def test_links_to_files_are_followed_and_links_to_directories_are_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "picture.png").write_bytes(b"content")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "picture.png")
    (tmp_path / "in" / "round").symlink_to(tmp_path)
    (found,) = image_files([tmp_path / "in"])
    assert read_image(found, 100) == b"content"


def test_unreadable_files_raise_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "large.png").write_bytes(b"1234")
    with permissions_count():
        closed, large = image_files([tmp_path])
        with pytest.raises(UnreadableFileError, match="cannot be listed: Permission denied"):
            read_image(closed, 3)
    with pytest.raises(UnreadableFileError, match="has 4 bytes, at most 3 are allowed"):
        read_image(large, 3)
    with pytest.raises(UnreadableFileError, match="is missing"):
        read_image(ImageFile(str(tmp_path / "missing.png")), 3)
    (tmp_path / "closed").chmod(0o700)
    os.mkfifo(tmp_path / "queue.png")
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_image(ImageFile(str(tmp_path / "queue.png")), 3)


def test_a_named_file_may_have_any_suffix(tmp_path: Path) -> None:
    assert [file.path for file in image_files([tmp_path / "scan", "x"])] == [str(tmp_path / "scan"), "x"]


def test_finished_paths_are_remembered_in_16_bytes_each() -> None:
    done = DonePaths(f"folder/{number}\udcff.png" for number in range(1000))
    assert len(done) == 1000
    assert done._digests.nbytes == 16_000
    assert all(f"folder/{number}\udcff.png" in done for number in range(1000))
    assert not any(f"folder/{number}\udcff.png" in done for number in range(1000, 2000))
    assert "anything" not in DonePaths([])
