"""Safe access to files from untrusted sources: only regular files are opened, and directories are listed lazily."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class UnreadableFileError(Exception):
    """A file cannot be opened, is not a regular file, or is too large. The message is a clause such as "is missing"."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. A symbolic link as the last component of the path is not followed.

    Raises:
        UnreadableFileError: the file is missing, cannot be read, or is not a regular file.
    """
    try:
        _check_kind(os.lstat(path))  # opening a device or FIFO may have side effects
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UnreadableFileError("is missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableFileError(f"cannot be opened: {reason}") from error
    try:
        _check_kind(os.fstat(descriptor))  # the file may have been replaced in between
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Return the contents of a regular file of at most `limit` bytes.

    Raises:
        UnreadableFileError: see `open_regular`; or the file is larger, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1) if size <= limit else b""  # read(limit) would allocate `limit` bytes
            if len(content) > size:  # the file has grown
                content += file.read(limit + 1 - len(content))
        except OSError as error:
            raise UnreadableFileError(f"cannot be read: {error.strerror}") from error
    if max(size, len(content)) > limit:
        raise UnreadableFileError(f"has {max(size, len(content))} bytes, at most {limit} are allowed")
    return content


def entries_below(directory: Path) -> Iterator[tuple[str, bool]]:
    """Yield the path of every entry below a directory, and whether the entry is a directory.

    Symbolic links are not followed. A directory that cannot be listed counts as empty. Depth and number of the entries
    are not limited.
    """
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    if is_directory:
                        waiting.append(entry.path)
                    yield entry.path, is_directory
        except OSError:
            continue


def _check_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "a special file")
        raise UnreadableFileError(f"is {kind}, expected a regular file")
