"""Fingerprint of a directory: changes with every change to its files, and not when they are read."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.catalogue.fingerprint import fingerprint
from service.catalogue.loading import load_catalogue
from service.settings import Settings
from tests.service.artifacts import add_artifact


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "artifact"
    (made / "pictures").mkdir(parents=True)
    (made / "model.onnx").write_bytes(b"weights")
    (made / "pictures/bias.png").write_bytes(b"picture")
    return made


def overwrite_with_the_same_size_and_modification_time(directory: Path) -> None:
    graph = directory / "model.onnx"
    before = graph.stat()
    graph.write_bytes(b"WEIGHTS")
    os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = graph.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace_by_a_copy_with_the_same_times(directory: Path) -> None:
    shutil.copytree(directory, directory.with_name("copy"))  # copies times too
    shutil.rmtree(directory)
    directory.with_name("copy").rename(directory)


CHANGES: list[Callable[[Path], object]] = [
    lambda directory: (directory / "model.onnx").write_bytes(b"more weights"),
    lambda directory: (directory / "pictures/bias.png").write_bytes(b"other picture"),
    lambda directory: (directory / "new").touch(),
    lambda directory: (directory / "pictures/new").touch(),
    lambda directory: (directory / "model.onnx").unlink(),
    lambda directory: (directory / "model.onnx").rename(directory / "graph.onnx"),
    overwrite_with_the_same_size_and_modification_time,
    replace_by_a_copy_with_the_same_times,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_fingerprint(directory: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(directory)
    change(directory)
    assert fingerprint(directory) != before


def test_reading_does_not_change_the_fingerprint(directory: Path) -> None:
    before = fingerprint(directory)
    (directory / "model.onnx").read_bytes()
    assert before == fingerprint(directory)
    assert len(before) == 2


def test_a_link_to_another_directory_changes_the_fingerprint(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "other")
    (tmp_path / "link").symlink_to(directory)
    before = fingerprint(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert fingerprint(tmp_path / "link") != before


def test_a_missing_directory_has_an_empty_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nothing") == ()


def test_a_broken_link_is_included(directory: Path) -> None:
    (directory / "broken").symlink_to("nowhere")
    assert len(fingerprint(directory)) == 3


@contextmanager
def nested(directory: Path, depth: int) -> Iterator[None]:
    """Create and remove nested directories, deeper than Python's recursion limit and than pytest can remove."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("unlisted").touch()
        os.chdir(before)
        yield
        os.chdir(f"{directory}/{'d/' * depth}")
        Path("unlisted").unlink()
        for _ in range(depth):
            os.chdir("..")
            Path("d").rmdir()
    finally:
        os.chdir(before)


@pytest.mark.slow
def test_directories_deeper_than_the_recursion_limit_are_included_and_the_artifact_refused(tmp_path: Path) -> None:
    add_artifact(tmp_path, variant="a")
    add_artifact(tmp_path, variant="b")
    with nested(tmp_path / "colours/a/1", 1500):
        assert sum(path.endswith("/unlisted") for path, *_ in fingerprint(tmp_path / "colours/a/1")) == 1
        catalogue = load_catalogue(Settings(repository=tmp_path, threads=1))
        try:
            assert [str(servable.key) for servable in catalogue.servables()] == ["colours/b/1"]
            assert "is not listed in manifest.json" in catalogue.refused[0].reason
        finally:
            catalogue.close()


@pytest.mark.slow
def test_the_number_of_files_in_a_fingerprint_is_limited(tmp_path: Path) -> None:
    for number in range(10_050):
        (tmp_path / str(number)).touch()
    assert len(fingerprint(tmp_path)) == 10_000
