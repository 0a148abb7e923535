"""Temporary directory that is removed when its process ends, even if the process is killed.

After Ctrl-C and errors, `finally` cleans up. It does not run after SIGKILL, which the kernel also sends when memory
runs out. Therefore a second, small process reads a pipe that only the first one has open for writing: if the pipe is
closed without an end mark, the second process removes the directories whose paths it has received. It runs in a
separate session, so that signals to the terminal or process group of the first do not reach it.

The first process imports this file, the second runs it. It uses the standard library only.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_END_MARK = b""
_SEPARATOR = b"\0"  # not valid in a path
_ATTEMPTS = 100


@contextmanager
def guarded_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a directory with a new name in `parent`, and remove it afterwards unless it was renamed.

    Missing parents are created too, and removed afterwards if empty. Directories created by other processes are kept.

    Raises:
        OSError: the directory cannot be created, or the second process cannot be started.
    """
    directory = parent.absolute() / f"{prefix}{secrets.token_hex(8)}"
    made: list[Path] = []
    with subprocess.Popen(  # noqa: S603 -- this file, run by this Python
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    ) as watcher:
        try:
            _send(watcher, directory)  # before it exists; its name is unique
            for path in _make(directory):
                made.append(path)
                _send(watcher, path)
            yield directory
        finally:
            remove(directory, made)
            _send(watcher, _END_MARK)


def remove(directory: Path, parents: Iterable[Path]) -> None:
    """Remove `directory` with its contents, if it exists, and then those of `parents` that are empty.

    `parents` must be in order of creation.
    """
    if directory.exists():
        shutil.rmtree(directory)
    for parent in reversed(list(parents)):
        with suppress(OSError):  # not empty, or already removed by another export
            parent.rmdir()


def _make(directory: Path) -> Iterator[Path]:
    """Create `directory` and its missing parents, and yield each created parent, outermost first."""
    for attempt in range(_ATTEMPTS):
        try:
            for path in reversed(directory.parents):
                if not path.exists():
                    with suppress(FileExistsError):  # another process has created it, and will remove it
                        path.mkdir()
                        yield path
            directory.mkdir()
        except FileNotFoundError:
            # Another export removed a parent that it had created, after this process had found it.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _send(watcher: subprocess.Popen[bytes], message: Path | bytes) -> None:
    assert watcher.stdin is not None
    with suppress(BrokenPipeError):  # the watcher was killed; `finally` still cleans up
        watcher.stdin.write(os.fsencode(message) + _SEPARATOR)


def _watch() -> None:
    """Wait until the pipe is closed, then remove the directories unless the end mark was received."""
    *received, _ = sys.stdin.buffer.read().split(_SEPARATOR)
    if received and received[-1] != _END_MARK:
        directory, *parents = (Path(os.fsdecode(path)) for path in received)
        remove(directory, parents)


if __name__ == "__main__":
    _watch()
