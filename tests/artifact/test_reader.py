"""Reading of artifacts: any difference from what was written is refused with the artifact and the reason."""

import json
from pathlib import Path

import pytest

from artifact import (
    ArtifactError,
    FileMismatchError,
    LabelsError,
    ManifestError,
    UnknownFormatError,
    UnsafePathError,
    read_artifact,
)
from artifact.hashing import describe_file
from artifact.text import escaped
from tests.artifact.drafts import LABELS, write
from tests.artifact.hostile import edit


def test_a_written_artifact_is_read_back(tmp_path: Path) -> None:
    path, manifest = write(tmp_path)
    artifact = read_artifact(path)
    assert artifact.manifest == manifest
    assert artifact.labels == LABELS
    assert artifact.graph.read_bytes() == b"graph"


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    (path / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(FileMismatchError, match=r"learned/1: model\.onnx is not the file"):
        read_artifact(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    (path / "model.onnx").unlink()
    with pytest.raises(FileMismatchError, match=r"model\.onnx is missing"):
        read_artifact(path)


@pytest.mark.parametrize("name", ["model.onnx.data", ".hidden", "weights/model.data"])
def test_a_file_that_is_not_listed_is_refused(tmp_path: Path, name: str) -> None:
    path, _ = write(tmp_path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"what the graph may refer to")
    with pytest.raises(FileMismatchError, match=f"{name} is not listed"):
        read_artifact(path)
    edit(path, lambda manifest: manifest["files"].update({name: describe_file(path / name).model_dump()}))
    assert name in read_artifact(path).manifest.files


def test_a_linked_directory_is_refused_as_a_file_that_is_not_listed(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    (path / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(FileMismatchError, match="elsewhere is not listed"):
        read_artifact(path)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json is missing"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\udcff", "[1]", "3", "null"])
def test_a_manifest_that_is_not_a_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path, _ = write(tmp_path)
    (path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ManifestError):
        read_artifact(path)


@pytest.mark.parametrize("unknown", [2, 0, "1", None, [1]])
def test_an_unknown_format_is_refused_before_any_other_field(tmp_path: Path, unknown: object) -> None:
    path, _ = write(tmp_path)
    (path / "manifest.json").write_text(json.dumps({"format": unknown, "anything": "else"}))
    with pytest.raises(UnknownFormatError, match="this version supports format 1"):
        read_artifact(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "../etc"),
        ("variant", "Learned"),
        ("version", 0),
        ("precision", "fp64"),
        ("surprise", 1),
        ("created", "2026-11-20T00:00:00"),  # without a time zone
        ("labels", "elsewhere.txt"),
        ("parity", {}),
    ],
)
def test_a_field_that_breaks_the_schema_is_named(tmp_path: Path, field: str, value: object) -> None:
    path, _ = write(tmp_path)
    edit(path, lambda manifest: manifest.update({field: value}))
    with pytest.raises(ManifestError, match=field):
        read_artifact(path)


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "..", "", "..\\secret.txt", "C:\\x"]
)
def test_a_path_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    path, _ = write(tmp_path)
    secret = path.parent / "secret.txt"
    secret.write_text("secret")
    edit(path, lambda manifest: manifest["files"].update({name: describe_file(secret).model_dump()}))
    with pytest.raises(UnsafePathError, match="outside the artifact"):
        read_artifact(path)


def test_a_link_that_leaves_the_directory_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    moved = path.parent / "moved.onnx"
    (path / "model.onnx").rename(moved)
    (path / "model.onnx").symlink_to(moved)
    with pytest.raises(UnsafePathError, match="outside the artifact"):
        read_artifact(path)


@pytest.mark.parametrize("labels", ["cat\ndog\n", "cat\ndog\ncrow\nowl\n", "cat\n\ncrow\n", "\xff"])
def test_every_class_needs_one_label(tmp_path: Path, labels: str) -> None:
    path, _ = write(tmp_path)
    file = path / "labels.txt"
    file.write_bytes(labels.encode("latin-1"))
    edit(path, lambda manifest: manifest["files"].update({"labels.txt": describe_file(file).model_dump()}))
    with pytest.raises(LabelsError, match=r"labels\.txt"):
        read_artifact(path)


def test_every_error_is_an_artifact_error() -> None:
    for error in (ManifestError, UnknownFormatError, UnsafePathError, FileMismatchError, LabelsError):
        assert issubclass(error, ArtifactError)


def test_a_byte_order_mark_is_not_part_of_the_first_label(tmp_path: Path) -> None:
    path, _ = write(tmp_path)
    (path / "labels.txt").write_bytes("".join(f"{label}\r\n" for label in LABELS).encode("utf-8-sig"))
    found = describe_file(path / "labels.txt").model_dump()
    edit(path, lambda manifest: manifest["files"].update({"labels.txt": found}))
    assert read_artifact(path).labels == LABELS


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"])
def test_only_line_feeds_separate_labels(tmp_path: Path, separator: str) -> None:
    path, _ = write(tmp_path)
    joined = separator.join(LABELS[:2])
    for labels, count in ((LABELS[2:], len(LABELS) - 1), ((*LABELS[2:], "other"), len(LABELS))):
        (path / "labels.txt").write_bytes("\n".join((joined, *labels)).encode())
        found = describe_file(path / "labels.txt").model_dump()
        edit(path, lambda manifest, found=found: manifest["files"].update({"labels.txt": found}))  # type: ignore[misc]
        if count != len(LABELS):
            with pytest.raises(LabelsError, match=f"has {count} lines"):
                read_artifact(path)
        else:
            assert read_artifact(path).labels == (escaped(joined), *labels)
