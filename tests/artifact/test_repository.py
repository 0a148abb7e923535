"""Artifact directories in a repository, and the next version."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifact import next_version, scan
from artifact.repository import _directories, _directories_if_there, is_version
from tests.artifact.drafts import write
from tests.artifact.privileges import permissions_count


def test_a_repository_is_scanned_three_directories_deep_and_sorted(tmp_path: Path) -> None:
    for name in ("b/x/1", "a/y/2", "a/y/10", "a/y/notes"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "y" / "file").touch()
    (tmp_path / "README.md").touch()
    assert [str(location) for location in scan(tmp_path)] == ["a/y/10", "a/y/2", "a/y/notes", "b/x/1"]


def test_an_export_in_progress_is_ignored(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "pets" / "learned" / ".2-abc").mkdir()
    (tmp_path / ".git" / "objects" / "00").mkdir(parents=True)
    assert [str(location) for location in scan(tmp_path)] == ["pets/learned/1"]


def test_a_directory_removed_during_the_scan_is_ignored(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "pets" / "gone"
    path.mkdir()
    found = _directories_if_there(tmp_path / "pets")
    path.rmdir()
    assert path in found
    assert [list(_directories_if_there(variant)) for variant in found if variant == path] == [[]]
    with pytest.raises(FileNotFoundError):
        list(_directories(path))


def test_a_missing_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        scan(tmp_path / "nowhere")


def test_too_many_open_files_is_an_error_of_the_scan_not_of_one_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/x/1").mkdir(parents=True)
    whole = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "x":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return whole(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(OSError, match="Too many open files"):
        scan(tmp_path)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_an_unreadable_directory_hides_only_its_own_content(tmp_path: Path, mode: int) -> None:
    for name in ("a/x/1", "b/x/1", "b/y/1", "lost+found/x/1"):
        (tmp_path / name).mkdir(parents=True)
    closed = [tmp_path / "b/x", tmp_path / "lost+found"]
    for path in closed:
        path.chmod(mode)
    try:
        with permissions_count():
            found = scan(tmp_path)
    finally:
        for path in closed:
            path.chmod(0o700)
    assert [str(location) for location in found] == ["a/x/1", "b/x/?", "b/y/1", "lost+found/?/?"]
    assert [location.unreadable for location in found] == ["", "Permission denied", "", "Permission denied"]


def test_the_next_version_follows_the_largest_number(tmp_path: Path) -> None:
    assert next_version(tmp_path, "pets", "learned") == 1
    for version in (2, 10):
        write(tmp_path, version)
    (tmp_path / "pets" / "learned" / "notes").mkdir()
    assert next_version(tmp_path, "pets", "learned") == 11


@pytest.mark.parametrize("name", ["0", "01", "-1", "1.0", "v1", "", "٣"])
def test_other_names_are_not_versions(name: str) -> None:
    assert not is_version(name)
    assert is_version("12")
