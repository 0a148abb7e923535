"""Output file of predictions: rows are appended, and the file can be resumed after any termination.

Rows are collected and written by one system call, so other readers see complete rows. An incomplete last row, which a
crash of the machine may leave, is removed when the file is opened again.
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
"""Size in bytes, and age of the first row in seconds, at which collected rows are written."""


class Output:
    """Writer that appends rows; created by `appending`.

    Attributes:
        done: paths of the rows already in the file.
        written, errors: number of added rows in the file, and of those without prediction.
    """

    def __init__(self, path: Path, file: BinaryIO, done: DonePaths) -> None:
        self.done = done
        self.written = self.errors = 0
        self._collected: list[bool] = []  # for each collected row, whether it has no prediction
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self._rows = bytearray()
        self._since = 0.0

    def begin(self, header: bytes) -> None:
        """Put the header before the first row."""
        self._rows += header
        self._since = time.monotonic()

    def add(self, row: bytes, *, failed: bool = False) -> None:
        """Append a row, which is written after at most a second if more rows are added.

        Args:
            row: bytes with the end of line.
            failed: whether it has no prediction.

        Raises:
            OutputError: the file cannot be written.
        """
        now = time.monotonic()
        if not self._rows:
            self._since = now
        self._rows += row
        self._collected.append(failed)
        if len(self._rows) >= _BYTES or now - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write collected rows.

        Raises:
            OutputError: the file cannot be written; it ends with a complete row, and collected rows are discarded.
        """
        while self._rows:
            try:
                written = os.write(self._file.fileno(), self._rows)
            except OSError as error:
                os.ftruncate(self._file.fileno(), self._size)
                self._collected.clear()
                self._rows.clear()  # their beginning may have been removed
                raise OutputError(
                    f"cannot write {self._path}: {error.strerror or error}; finished rows are kept, so free disk space "
                    "and run the same command again"
                ) from error
            del self._rows[:written]
            if not self._rows:
                self._size = os.fstat(self._file.fileno()).st_size
        self.written += len(self._collected)
        self.errors += sum(self._collected)
        self._collected.clear()


@contextmanager
def appending(path: Path, form: Format, artifact: str) -> Iterator[Output]:
    """Open a new or existing file of predictions, locked against other runs.

    Args:
        path: path of the file; its directory is there.
        form: format of the rows.
        artifact: required artifact of existing rows.

    Raises:
        OutputError: the file cannot be opened or written, is locked by another run, or has other contents, which are
            not changed.
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
            output.begin(form.header)
        try:
            yield output
        finally:
            output.flush()


def _resume(path: Path, form: Format, artifact: str) -> DonePaths:
    """Remove an incomplete last row, and return the paths of the others."""
    with path.open("rb") as file:
        beginning = file.read(len(form.beginning))
        if len(beginning) < len(form.beginning) and form.beginning.startswith(beginning):
            os.truncate(path, 0)  # empty, or without a complete first row
            return DonePaths(())
        if beginning != form.beginning:
            raise OutputError(f"it does not begin with {form.beginning.decode().strip()!r}")
        file.seek(0)
        whole = form.whole(file)
        if whole > len(form.header):
            file.seek(0)
            next(_paths(form, file, artifact))  # checked before truncating the file, which may be another's
    os.truncate(path, whole)
    with path.open("rb") as file:
        return DonePaths(_paths(form, file, artifact))


def _paths(form: Format, file: BinaryIO, artifact: str) -> Iterator[str]:
    for path, of in form.identities(file):
        if of != artifact:
            raise OutputError(f"it contains predictions of {of}, not of {artifact}")
        yield path
