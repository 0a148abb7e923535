"""Reading an artifact: nothing of it is used before all of it is verified."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import ValidationError

from artifact.errors import FileMismatchError, LabelsError, ManifestError, UnknownFormatError, UnsafePathError
from artifact.hashing import describe_file
from artifact.manifest import FORMAT, GRAPH_NAME, MANIFEST_NAME, Manifest


@dataclass(frozen=True)
class Artifact:
    """A verified artifact: where it is, what it says of itself, and its labels in class order."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.path / GRAPH_NAME


def read_artifact(path: Path) -> Artifact:
    """Read and verify the artifact in directory `path`.

    Raises:
        ManifestError: manifest.json is missing, is not JSON or breaks the schema.
        UnknownFormatError: its format is not one this version reads.
        UnsafePathError: a listed file lies outside `path`, be it by `..`, an absolute path or a symbolic link.
        FileMismatchError: a listed file is missing, its size or SHA-256 differs, or a file is there that is not listed:
            the graph may refer to any file beside it.
        LabelsError: the number of labels is not the number of classes.
    """
    manifest = _read_manifest(path)
    for name, expected in manifest.files.items():
        file = _inside(path, name)
        if not file.is_file():
            raise FileMismatchError(f"{path}: {name} is missing; export the artifact again")
        found = describe_file(file)
        if found != expected:
            raise FileMismatchError(
                f"{path}: {name} is not the file the manifest describes "
                f"(SHA-256 {found.sha256[:12]}…, {found.size} bytes; expected {expected.sha256[:12]}…, "
                f"{expected.size} bytes); export or copy the artifact again"
            )
    _refuse_unlisted(path, manifest)
    return Artifact(path, manifest, _read_labels(path, manifest))


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST_NAME
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot read {MANIFEST_NAME}: {error.strerror or error}") from error
    except ValueError as error:
        raise ManifestError(f"{path}: {MANIFEST_NAME} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ManifestError(f"{path}: {MANIFEST_NAME} holds a {type(raw).__name__}, expected an object")
    if raw.get("format") != FORMAT:
        raise UnknownFormatError(
            f"{path}: manifest format {raw.get('format')!r} is unknown, this version reads format {FORMAT}; "
            "export again, or use the version of posbake that wrote it"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'manifest'}: {problem['msg']}" for problem in error.errors()[:3]
        )
        raise ManifestError(f"{path}: {MANIFEST_NAME} breaks the schema: {problems}") from error


def _inside(path: Path, name: str) -> Path:
    """Return the path of a listed file, or raise UnsafePathError if it is not below `path`."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    unsafe = not parts or name.startswith("/") or ".." in parts or windows.drive or "\\" in name
    if unsafe or not (path / name).resolve().is_relative_to(path.resolve()):
        raise UnsafePathError(f"{path}: file {name!r} lies outside the artifact; refuse it and find out who wrote it")
    return path / name


def _refuse_unlisted(path: Path, manifest: Manifest) -> None:
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        is_directory = file.is_dir() and not file.is_symlink()
        if not is_directory and name not in manifest.files and name != MANIFEST_NAME:
            raise FileMismatchError(
                f"{path}: {name} is not listed in {MANIFEST_NAME}, nothing vouches for it; remove it, or export again"
            )


def _read_labels(path: Path, manifest: Manifest) -> tuple[str, ...]:
    try:
        text = _inside(path, manifest.labels).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LabelsError(f"{path}: {manifest.labels} is not UTF-8 text: {error}") from error
    labels = tuple(text.splitlines())
    if len(labels) != manifest.output.classes or not all(label.strip() for label in labels):
        raise LabelsError(
            f"{path}: {manifest.labels} holds {len(labels)} lines, "
            f"expected {manifest.output.classes} labels, one a line and none empty"
        )
    return labels
