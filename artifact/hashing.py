"""Sizes and SHA-256 of files."""

import hashlib
from pathlib import Path

from artifact.manifest import FileEntry


def describe_file(path: Path) -> FileEntry:
    """Return the size in bytes and the SHA-256 of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(sha256=digest, size=file.tell())
