"""Atomic writing of artifacts.

Files are written to a hidden sibling of the version's directory, which is renamed at the end.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from artifact.errors import VersionExistsError
from artifact.golden import read_golden
from artifact.guard import guarded_directory
from artifact.hashing import describe_file
from artifact.manifest import FORMAT, GRAPH_NAME, LABELS_NAME, MANIFEST_NAME, Draft, Manifest
from artifact.reader import read_artifact

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass
class Staging:
    """Unfinished artifact. Write `graph` and other files, then call `commit`."""

    directory: Path
    target: Path
    model: str
    variant: str
    version: int
    committed: Manifest | None = field(default=None)

    @property
    def graph(self) -> Path:
        """Path of the ONNX file."""
        return self.directory / GRAPH_NAME

    def commit(self, draft: Draft, labels: Sequence[str]) -> Manifest:
        """Write labels and manifest, verify the artifact with the reader, and rename it into place.

        Raises:
            pydantic.ValidationError: the draft names a file that does not exist.
            ArtifactError: the written artifact fails verification, or the version was created meanwhile.
            OSError: the disk is full, or a permission is missing.
        """
        (self.directory / LABELS_NAME).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        files = {
            file.relative_to(self.directory).as_posix(): describe_file(file)
            for file in sorted(self.directory.rglob("*"))
            if file.is_file()
        }
        manifest = Manifest(
            format=FORMAT,
            model=self.model,
            variant=self.variant,
            version=self.version,
            labels=LABELS_NAME,
            files=files,
            **{name: getattr(draft, name) for name in Draft.model_fields},
        )
        (self.directory / MANIFEST_NAME).write_text(manifest_text(manifest), encoding="utf-8")
        read_golden(read_artifact(self.directory))
        for file in self.directory.rglob("*"):
            flush(file)
        _rename_to_new(self.directory, self.target)
        flush(self.target.parent)
        self.committed = manifest
        return manifest


@contextmanager
def stage(repository: Path, model: str, variant: str, version: int) -> Iterator[Staging]:
    """Create a staging directory for a new artifact.

    Without a `commit` the repository remains unchanged, even if the process is killed (`artifact.guard`).

    Raises:
        VersionExistsError: the version already exists.
        OSError: the repository cannot be written, or is full.
    """
    target = repository / model / variant / str(version)
    if target.exists():
        raise _exists(target)
    try:
        with guarded_directory(target.parent, f".{version}-") as directory:
            yield Staging(directory, target, model, variant, version)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OSError(
            f"no space to write {target}: {os.strerror(error.errno)}; "
            "free disk space, raise the limit, or choose another --output"
        ) from error


def _rename_to_new(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if target.exists():
            raise _exists(target) from error
        raise


def _exists(target: Path) -> VersionExistsError:
    return VersionExistsError(f"{target} already exists; give another --version, or remove it first")


def manifest_text(manifest: Manifest) -> str:
    """Return the text of manifest.json."""
    return manifest.model_dump_json(indent=2, exclude_none=True) + "\n"


def flush(path: Path) -> None:
    """Flush a file or directory to disk (fsync), before the rename makes it visible."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
