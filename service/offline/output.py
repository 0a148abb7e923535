"""Output file of predictions: rows are appended, and it can be resumed after any end of the process.

Rows are collected and written by one system call, so that other readers see whole rows. A torn last row, as a crash of
the machine may leave, is cut off when the file is next opened.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from service.offline.done import DonePaths
from service.offline.errors import OutputError
from service.offline.rows import Format

_BYTES, _SECONDS = 2**16, 1.0
"""Bytes and age of the first row from which rows are written."""


class Output:
    """Appends rows. Use `appending` to make one.

    Attributes:
        done: paths of the rows that were there before.
    """

    def __init__(self, path: Path, file: BinaryIO, done: DonePaths) -> None:
        self.done = done
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self._rows = bytearray()
        self._since = 0.0

    def add(self, row: bytes) -> None:
        """Append a row; it is in the file after a second at most, if more are added.

        Raises:
            OutputError: the file cannot be written.
        """
        now = time.monotonic()
        if not self._rows:
            self._since = now
        self._rows += row
        if len(self._rows) >= _BYTES or now - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added.

        Raises:
            OutputError: the file cannot be written; it ends with a whole row, and what was added is forgotten.
        """
        while self._rows:
            try:
                written = os.write(self._file.fileno(), self._rows)
            except OSError as error:
                os.ftruncate(self._file.fileno(), self._size)
                self._rows.clear()  # their beginning may have been cut off
                raise OutputError(
                    f"cannot write {self._path}: {error.strerror or error}; it holds what was done, so make room and "
                    "run the same command again"
                ) from error
            del self._rows[:written]
            if not self._rows:
                self._size = os.fstat(self._file.fileno()).st_size


@contextmanager
def appending(path: Path, form: Format, artifact: str) -> Iterator[Output]:
    """Open a file of predictions, new or begun before, and keep other runs from it.

    Args:
        path: of the file; its directory is there.
        form: how rows are written.
        artifact: what the rows that are there must be of.

    Raises:
        OutputError: it cannot be opened or written, another run has it, or it holds something else, which is left as
            it is.
    """
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another --output") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OutputError(f"{path} is not a regular file; choose another --output")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(file.fileno()).st_nlink:  # a run that has just ended removed it
                raise BlockingIOError
        except BlockingIOError as error:
            raise OutputError(f"{path} is being written by another run; choose another --output") from error
        try:
            done = _resume(path, form, artifact)
        except OutputError as error:
            raise OutputError(f"{path} cannot be resumed: {error}; choose another --output") from error
        output = Output(path, file, done)
        if not os.fstat(file.fileno()).st_size:
            output.add(form.header)
        try:
            yield output
        finally:
            output.flush()


def _resume(path: Path, form: Format, artifact: str) -> DonePaths:
    """Cut off a torn last row, and return the paths of the others."""
    with path.open("rb") as file:
        beginning = file.read(len(form.beginning))
        if len(beginning) < len(form.beginning) and form.beginning.startswith(beginning):
            os.truncate(path, 0)  # empty, or torn before its first row
            return DonePaths(())
        if beginning != form.beginning:
            raise OutputError(f"it does not begin with {form.beginning.decode().strip()!r}")
        file.seek(0)
        whole = form.whole(file)
        if whole > len(form.header):
            file.seek(0)
            next(_paths(form, file, artifact))  # before anything of a file is cut off, which may be another's
    os.truncate(path, whole)
    with path.open("rb") as file:
        return DonePaths(_paths(form, file, artifact))


def _paths(form: Format, file: BinaryIO, artifact: str) -> Iterator[str]:
    for path, of in form.identities(file):
        if of != artifact:
            raise OutputError(f"it holds predictions of {of}, not of {artifact}")
        yield path
