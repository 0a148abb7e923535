"""Sizes and SHA-256 of files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from artifact.manifest import FileEntry

_CHUNK = 2**20
"""Bytes read at once."""


def describe_file(path: Path) -> FileEntry:
    """Return the size in bytes and the SHA-256 of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return describe(file)


def describe(file: BinaryIO, before_each: Callable[[], None] = lambda: None) -> FileEntry:
    """Return the size and SHA-256 of an open file from its beginning. `before_each` is called before each MiB."""
    digest = hashlib.sha256()
    before_each()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        before_each()
    return FileEntry(sha256=digest.hexdigest(), size=file.tell())
