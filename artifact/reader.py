"""Reader of artifacts: all files are verified before any is used."""

import io
import os
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from artifact.errors import (
    FileMismatchError,
    LabelsError,
    ManifestError,
    UnknownFormatError,
    UnsafePathError,
    VerificationTimeoutError,
)
from artifact.hashing import describe
from artifact.manifest import FORMAT, GRAPH_NAME, MANIFEST_NAME, FileEntry, Manifest
from artifact.opening import UnreadableFileError, entries_below, open_regular, read_regular
from artifact.text import LABEL_LIMIT, escaped, shown

MANIFEST_LIMIT = 2**20
"""Maximum size of manifest.json in bytes: room for 4,000 entries of `baked`, at about 200 bytes each."""

LABELS_LIMIT = 2**24
"""Maximum size of the labels file in bytes: 160,000 classes with names of 100 bytes."""

_JSON: TypeAdapter[Any] = TypeAdapter(Any)
"""Parser that limits the nesting depth and rejects lone surrogates, unlike `json`."""

_DIGITS = 20
"""Maximum number of characters of a number from the manifest in messages."""


@dataclass(frozen=True)
class Artifact:
    """Verified artifact: its path, its manifest, and its labels in class order, checked for control characters."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def graph(self) -> Path:
        """Path of the ONNX file."""
        return self.path / GRAPH_NAME


def read_artifact(path: Path | str, until: float = inf) -> Artifact:
    """Read and verify the artifact in directory `path`.

    Only regular files are opened, never a link, FIFO or device. Text from the artifact is escaped and truncated in
    messages.

    Args:
        path: directory of the artifact.
        until: deadline, in seconds of `time.monotonic()`.

    Raises:
        ManifestError: manifest.json is missing, too large, is not JSON or breaks the schema.
        UnknownFormatError: this version does not support its format.
        UnsafePathError: a listed file is outside `path` (`..` or an absolute path) or behind a link.
        FileMismatchError: a listed file is missing, is not a regular file, its size or SHA-256 differs, or there is a
            file that is not listed, to which the graph might refer.
        LabelsError: the number of labels is not the number of classes, or a label is empty or too long.
        VerificationTimeoutError: `until` has passed.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    for name, expected in manifest.files.items():
        _verify(path, name, expected, until)
    _refuse_unlisted(path, manifest, until)
    return Artifact(path, manifest, _read_labels(path, manifest))


def read_member(artifact: Artifact, name: str) -> bytes:
    """Return the contents of a listed file of a verified artifact, after verifying its hash again.

    Raises:
        FileMismatchError: the file has changed.
        UnsafePathError: the file is now behind a link.
    """
    expected = artifact.manifest.files[name]
    try:
        content = read_regular(_inside(artifact.path, name), expected.size)
    except UnreadableFileError as error:
        raise FileMismatchError(f"{artifact.path}: {shown(name)} {error}; export the artifact again") from error
    if (found := describe(io.BytesIO(content))) != expected:
        raise _mismatch(artifact.path, name, f"SHA-256 {found.sha256[:12]}…", f"{expected.sha256[:12]}…")
    return content


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = _JSON.validate_json(read_regular(path / MANIFEST_NAME, MANIFEST_LIMIT))
    except UnreadableFileError as error:
        raise ManifestError(
            f"{path}: {MANIFEST_NAME} {error}; an artifact is a directory REPOSITORY/MODEL/VARIANT/VERSION: name that, "
            "or export again"
        ) from error
    except ValidationError as error:
        problem = shown(error.errors()[0]["msg"])
        raise ManifestError(f"{path}: {MANIFEST_NAME} is not JSON: {problem}; export or copy it again") from error
    if not isinstance(raw, dict):
        raise ManifestError(
            f"{path}: {MANIFEST_NAME} contains a {type(raw).__name__}, expected an object; export or copy it again"
        )
    if raw.get("format") != FORMAT:
        raise UnknownFormatError(
            f"{path}: manifest format {shown(repr(raw.get('format')))} is unknown, this version supports format "
            f"{FORMAT}; export again, or use the version of posbake that wrote it"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = "; ".join(
            f"{shown('.'.join(map(str, problem['loc'])) or 'manifest')}: {shown(problem['msg'])}"
            for problem in found[:3]
        )
        raise ManifestError(
            f"{path}: {MANIFEST_NAME} breaks the schema: {problems}; correct it, or export again"
        ) from error


def _verify(path: Path, name: str, expected: FileEntry, until: float) -> None:
    """Verify a listed file's size and hash."""
    try:
        with open_regular(_inside(path, name)) as file:
            size = os.fstat(file.fileno()).st_size
            if size != expected.size:  # checked first: a sparse file can be huge, and takes hours to read
                raise _mismatch(path, name, f"{size} bytes", shown(expected.size, _DIGITS))
            found = describe(file, lambda: _check_time(path, until))
    except UnreadableFileError as error:
        raise FileMismatchError(f"{path}: {shown(name)} {error}; export the artifact again") from error
    if found != expected:
        raise _mismatch(path, name, f"SHA-256 {found.sha256[:12]}…", f"{expected.sha256[:12]}…")


def _mismatch(path: Path, name: str, found: str, expected: str) -> FileMismatchError:
    return FileMismatchError(
        f"{path}: {shown(name)} is not the file the manifest describes ({found}, expected {expected}); "
        "export or copy the artifact again"
    )


def _inside(path: Path, name: str) -> Path:
    """Return the path of a listed file. Raises UnsafePathError if it is not below `path`, or behind a link."""
    parts = PurePosixPath(name).parts
    unsafe = not parts or name.startswith("/") or ".." in parts or PureWindowsPath(name).drive or "\\" in name
    directory = path.resolve()
    try:
        file = directory if unsafe else (path / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long; contains NUL; a loop of links
        raise UnsafePathError(f"{path}: file {shown(repr(name))} has an invalid name: {shown(error)}") from error
    if file == directory or not file.is_relative_to(directory):
        raise UnsafePathError(
            f"{path}: file {shown(repr(name))} is outside the artifact; do not use the artifact, and check its origin"
        )
    if file != directory / name:
        raise UnsafePathError(
            f"{path}: file {shown(repr(name))} is behind a symbolic link; replace the link by the file"
        )
    return file


def _refuse_unlisted(path: Path, manifest: Manifest, until: float) -> None:
    for entry, is_directory in entries_below(path):
        _check_time(path, until)
        name = Path(entry).relative_to(path).as_posix()
        if not is_directory and name not in manifest.files and name != MANIFEST_NAME:
            raise FileMismatchError(
                f"{path}: {shown(name)} is not listed in {MANIFEST_NAME}, so its content is not verified; remove it, "
                "or export again"
            )


def _read_labels(path: Path, manifest: Manifest) -> tuple[str, ...]:
    name = shown(manifest.labels)
    try:
        text = read_regular(_inside(path, manifest.labels), LABELS_LIMIT).decode("utf-8-sig")  # skips a byte order mark
    except UnreadableFileError as error:
        raise LabelsError(f"{path}: {name} {error}") from error
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path}: {name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    lines = text.removesuffix("\n").split("\n")  # splitlines would also split at form feeds and other separators
    labels = tuple(line.removesuffix("\r") for line in lines)
    if len(labels) != manifest.output.classes or not all(label.strip() for label in labels):
        raise LabelsError(
            f"{path}: {name} has {len(labels)} lines, "
            f"expected {shown(manifest.output.classes, _DIGITS)} labels, one per line and none empty"
        )
    longest = max(map(len, labels))
    if longest > LABEL_LIMIT:
        raise LabelsError(f"{path}: {name} has a label of {longest} characters, at most {LABEL_LIMIT} are allowed")
    return tuple(map(escaped, labels))


def _check_time(path: Path, until: float) -> None:
    if time.monotonic() >= until:
        raise VerificationTimeoutError(
            f"{path}: verification of the files took too long; the storage is slow, or the artifact very large"
        )
