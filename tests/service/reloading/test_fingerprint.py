"""Every change to a directory's files changes its fingerprint; reading them does not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from service.reloading.fingerprint import fingerprint


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
