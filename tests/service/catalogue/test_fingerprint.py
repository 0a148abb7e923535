"""Every change to a directory's files changes its fingerprint; reading them does not."""

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


def overwrite_with_as_many_bytes_and_turn_back_the_clock(directory: Path) -> None:
    graph = directory / "model.onnx"
    before = graph.stat()
    graph.write_bytes(b"WEIGHTS")
    os.utime(graph, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = graph.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace_all_with_a_copy_that_keeps_the_times(directory: Path) -> None:
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
    overwrite_with_as_many_bytes_and_turn_back_the_clock,
    replace_all_with_a_copy_that_keeps_the_times,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(directory: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(directory)
    change(directory)
    assert fingerprint(directory) != before


def test_what_is_only_read_stays_the_same(directory: Path) -> None:
    before = fingerprint(directory)
    (directory / "model.onnx").read_bytes()
    assert before == fingerprint(directory)
    assert len(before) == 2


def test_another_directory_through_the_same_link_is_noticed(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, tmp_path / "other")
    (tmp_path / "link").symlink_to(directory)
    before = fingerprint(tmp_path / "link")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert fingerprint(tmp_path / "link") != before


def test_what_is_not_there_has_the_empty_one(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nothing") == ()


def test_a_link_to_nothing_does_not_stop_it(directory: Path) -> None:
    (directory / "broken").symlink_to("nowhere")
    assert len(fingerprint(directory)) == 3


@contextmanager
def nested(directory: Path, depth: int) -> Iterator[None]:
    """Directories deeper than Python recurses, which is also how deep pytest can remove them."""
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
def test_an_artifact_of_directories_deeper_than_python_recurses_is_seen_and_refused(tmp_path: Path) -> None:
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
def test_a_directory_with_too_many_files_is_looked_at_in_part(tmp_path: Path) -> None:
    for number in range(10_050):
        (tmp_path / str(number)).touch()
    assert len(fingerprint(tmp_path)) == 10_000
