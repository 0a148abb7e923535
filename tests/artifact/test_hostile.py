"""Damaged and malicious artifacts are refused quickly, with short and escaped messages."""

import os
import time
from pathlib import Path

import pytest

from artifact import ArtifactError, FileMismatchError, VerificationTimeoutError, read_artifact
from artifact.hashing import describe_file
from artifact.opening import UnreadableFileError, open_regular, read_regular
from artifact.text import LABEL_LIMIT, escaped, flaw_of_label, shown
from tests.artifact.drafts import write
from tests.artifact.hostile import HUGE, UNREADABLE, Damage, list_file, list_sparse, relabel

pytestmark = pytest.mark.slow

MESSAGE = 1000
"""Limit of characters of a message without the artifact's path."""


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_artifact_is_refused_quickly_with_a_short_message(tmp_path: Path, damage: Damage) -> None:
    path, _ = write(tmp_path)
    damage(path)
    start = time.monotonic()
    with pytest.raises(ArtifactError) as refusal:
        read_artifact(path, until=time.monotonic() + 0.3)
    assert time.monotonic() - start < 20
    message = str(refusal.value)
    assert len(message) < MESSAGE + 3 * len(str(path))
    assert message.isprintable()
    assert message.isascii() or "…" in message
    message.encode()


def test_a_valid_artifact_is_read_within_the_same_time(tmp_path: Path) -> None:
    path, manifest = write(tmp_path)
    assert read_artifact(path, until=time.monotonic() + 20).manifest == manifest


def test_a_size_that_differs_is_found_before_the_file_is_read(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    list_sparse(path)
    list_file(path, "model.data")
    with pytest.raises(FileMismatchError, match=rf"model\.data is not the file .* \({HUGE} bytes, expected 1\)"):
        read_artifact(path)


def test_verification_stops_at_its_deadline(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    with pytest.raises(VerificationTimeoutError, match="took too long"):
        read_artifact(path, until=time.monotonic())


def test_a_link_inside_the_artifact_is_refused_too(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    (path / "model.onnx").rename(path / "real.onnx")
    (path / "model.onnx").symlink_to("real.onnx")
    list_file(path, "real.onnx", describe_file(path / "real.onnx"))
    with pytest.raises(ArtifactError, match=r"'model\.onnx' is behind a symbolic link"):
        read_artifact(path)


def test_a_repository_may_be_reached_by_a_link(tmp_path: Path) -> None:
    path, manifest = write(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert read_artifact(tmp_path / "link" / path.relative_to(tmp_path / "real")).manifest == manifest


def test_control_characters_in_labels_are_read_escaped(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    relabel(path, "\x1b[31mcat\ndog\t\u202e\nзебра 👩\u200d🚀\u00a0斑马\n".encode())
    assert read_artifact(path).labels == ("\\x1b[31mcat", "dog\\t\\u202e", "зебра 👩\u200d🚀\u00a0斑马")


@pytest.mark.parametrize(
    ("label", "flaw"),
    [
        ("cat", None),
        ("tench, Tinca tinca", None),
        ("ネコ、👩\u200d🚀", None),
        ("x" * LABEL_LIMIT, None),
        ("", "is empty"),
        (" \u00a0", "is empty"),
        ("x" * (LABEL_LIMIT + 1), "has 1001 characters"),
        ("b\nc", "contains U+000A"),
        ("b\u2028c", "contains U+2028"),
        ("b\x85c", "contains U+0085"),
        ("\x1b[2J", "contains U+001B"),
        ("a\tb", "contains U+0009"),
        ("abc\u202ecba", "contains U+202E"),
        ("\ud800", "contains U+D800"),
    ],
)
def test_a_label_may_hold_any_text_but_no_controls(label: str, flaw: str | None) -> None:
    found = flaw_of_label(label)
    if flaw is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(flaw)


def test_shown_text_is_shortened_and_escaped() -> None:
    assert shown("plain") == "plain"
    assert shown("x" * 300) == "x" * 199 + "…"
    assert len(shown("\0" * 10**6)) == 200
    assert shown(12, 3) == "12"
    assert escaped("a\\b\ud800\n\u2028") == "a\\b\\ud800\\n\\u2028"


@pytest.mark.parametrize("kind", ["FIFO", "link", "directory", "device", "missing"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "target").write_bytes(b"1")
        path.symlink_to("target")
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    with pytest.raises(UnreadableFileError, match="is missing" if kind == "missing" else f"is a .*{kind}.*regular"):
        open_regular(path)


def test_a_file_that_grows_while_it_is_read_is_read_only_up_to_the_limit(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="has 11 bytes, at most 10"):
        read_regular(Path("/proc/self/maps"), 10)  # a regular file that states a size of 0
    file = tmp_path / "ten"
    file.write_bytes(b"0123456789")
    assert read_regular(file, 10) == b"0123456789"
