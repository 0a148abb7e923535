"""Iteration over image files below directories, in order, with at most 65,536 names in memory.

Entries are sorted by name, with a subdirectory's files in the position of its name. Larger directories are sorted in
parts, one pass for each.
"""

import heapq
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from artifact.opening import UnreadableFileError
from imaging.formats.signatures import SUFFIXES

_PART = 65_536


@dataclass(frozen=True, slots=True)
class ImageFile:
    """File to be classified.

    Attributes:
        path: path as in the output.
        class_index: index of its label, -1 without one.
        flaw: known reason why it cannot be read: a directory that cannot be listed.
    """

    path: str
    class_index: int = -1
    flaw: str = ""


def image_files(paths: Iterable[str | Path]) -> Iterator[ImageFile]:
    """Yield the given files, and for directories every image below them, sorted. Links to files are followed."""
    for path in map(str, paths):
        yield from _below(path) if Path(path).is_dir() else [ImageFile(path)]


def read_image(file: ImageFile, limit: int) -> bytes:
    """Return the bytes of a file of at most `limit` bytes.

    Raises:
        UnreadableFileError: the file cannot be read, is not a regular file, or is larger.
    """
    if file.flaw:
        raise UnreadableFileError(file.flaw)
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not block on a FIFO
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableFileError("is not a regular file")
            if found.st_size > limit:
                raise UnreadableFileError(f"has {found.st_size} bytes, at most {limit} are allowed")
            content = os.read(descriptor, found.st_size + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise UnreadableFileError("is missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFileError(f"cannot be read: {reason}") from error
    if len(content) != found.st_size:
        raise UnreadableFileError("changed while it was read")
    return content


def _below(directory: str) -> Iterator[ImageFile]:
    waiting = [_entries(directory)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif isinstance(entry, ImageFile):
            yield entry
        else:
            waiting.append(_entries(entry))


def _entries(directory: str, part: int = _PART) -> Iterator[ImageFile | str]:
    """Yield the image files and subdirectories (as text) of a directory, sorted by name."""
    last = ""
    while True:
        try:
            with os.scandir(directory) as entries:
                found = heapq.nsmallest(part, _wanted(entries, last))
        except OSError as error:
            yield ImageFile(directory, flaw=f"cannot be listed: {error.strerror or error}")
            return
        for name, is_directory in found:
            path = os.path.join(directory, name)  # noqa: PTH118 -- Path takes several times as long
            yield path if is_directory else ImageFile(path)
        if len(found) < part:
            return
        last = found[-1][0]


def _wanted(entries: Iterable[os.DirEntry[str]], last: str) -> Iterator[tuple[str, bool]]:
    for entry in entries:
        if entry.name > last:
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_directory or os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 -- as above
                yield entry.name, is_directory
