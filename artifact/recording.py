"""Recording of a measured accuracy in the manifest of an existing artifact, which may be in use.

The new manifest is written to a hidden directory, which readers ignore, and then atomically replaces the old one.
"""

import os
from pathlib import Path

from artifact.errors import ManifestError, RecordingError
from artifact.guard import guarded_directory
from artifact.manifest import MANIFEST_NAME, Manifest
from artifact.parts.measured import Accuracy
from artifact.reader import read_artifact
from artifact.writer import flush, manifest_text


def check_recordable(path: Path) -> None:
    """Check, before a long measurement, that an accuracy can be recorded in the artifact at `path`.

    Raises:
        RecordingError: a permission is missing, the file system is read-only or full, or the task has no accuracy.
    """
    manifest = read_artifact(path).manifest
    if manifest.task != "single-label":
        raise RecordingError(f"{path}: accuracy is defined for task single-label, its task is {manifest.task}")
    if not os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise RecordingError(f"{path}: its manifest cannot be replaced: the directory is not writable; {_REMEDY}")
    try:
        with guarded_directory(path.absolute().parent, _prefix(path)):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


def record_accuracy(path: Path, accuracy: Accuracy, measured: Manifest) -> Manifest:
    """Write `accuracy` into the manifest of the artifact in directory `path`, and return the new manifest.

    Args:
        path: directory of the artifact.
        accuracy: measured accuracy.
        measured: manifest at the measurement; the current one may differ only in its accuracy.

    Raises:
        RecordingError: the artifact was replaced, or the manifest cannot be written.
        ArtifactError: the artifact cannot be read.
    """
    current = read_artifact(path).manifest
    if not current.same_but_accuracy(measured):
        raise RecordingError(f"{path}: the artifact was replaced after the measurement; evaluate it again")
    try:
        changed = Manifest.model_validate(current.model_copy(update={"accuracy": accuracy}).model_dump())
    except ValueError as error:
        raise ManifestError(f"{path}: the accuracy breaks the schema: {error}") from error
    try:
        with guarded_directory(path.absolute().parent, _prefix(path)) as directory:
            written = directory / MANIFEST_NAME
            written.write_text(manifest_text(changed), encoding="utf-8")
            written.chmod((path / MANIFEST_NAME).stat().st_mode & 0o777)
            flush(written)
            written.replace(path / MANIFEST_NAME)
        flush(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    return changed


_REMEDY = "grant write permission, or omit --record"


def _prefix(path: Path) -> str:
    return f".{path.name}-"


def _unwritable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(f"{path}: its manifest cannot be replaced: {error.strerror or error}; {_REMEDY}")
