"""A directory that is removed when the process that made it ends, however it ends.

Ctrl-C and errors unwind Python, and `finally` cleans up. SIGKILL, which is also what the kernel sends when memory runs
out, unwinds nothing. So a second, small process waits at the end of a pipe whose other end only the first one holds:
when the pipe closes without an end mark, it removes the directories it was sent. It has a session of its own, which
signals to the first one's terminal or process group do not reach.

This file is both: the first process imports it, the second runs it. Hence the standard library only.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FAREWELL = b""
_END = b"\0"  # no path holds one
_ATTEMPTS = 100


@contextmanager
def guarded_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a directory of a new name in `parent`, and remove it afterwards, if it still has that name then.

    Missing parents are made too, and removed if they are empty afterwards. What another process made is left alone.

    Raises:
        OSError: the directory cannot be made, or the second process not started.
    """
    directory = parent.absolute() / f"{prefix}{secrets.token_hex(8)}"
    made: list[Path] = []
    with subprocess.Popen(  # noqa: S603 -- this file, by this Python
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    ) as watcher:
        try:
            _tell(watcher, directory)  # before it exists: its name is unique
            for path in _make(directory):
                made.append(path)
                _tell(watcher, path)
            yield directory
        finally:
            remove(directory, made)
            _tell(watcher, _FAREWELL)


def remove(directory: Path, parents: Iterable[Path]) -> None:
    """Remove `directory` with all that is in it, if it is there, and then those of `parents` that are empty.

    `parents` come in the order they were made in.
    """
    if directory.exists():
        shutil.rmtree(directory)
    for parent in reversed(list(parents)):
        with suppress(OSError):  # not empty, or another export was faster: either way not ours to remove
            parent.rmdir()


def _make(directory: Path) -> Iterator[Path]:
    """Make `directory` and the parents it needs, and yield each parent that was not there before, outermost first."""
    for attempt in range(_ATTEMPTS):
        try:
            for path in reversed(directory.parents):
                if not path.exists():
                    with suppress(FileExistsError):  # another process made it in between: then it is not ours
                        path.mkdir()
                        yield path
            directory.mkdir()
        except FileNotFoundError:
            # Another export, which had made a parent, removed it again between our look at it and our use of it.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _tell(watcher: subprocess.Popen[bytes], what: Path | bytes) -> None:
    assert watcher.stdin is not None
    with suppress(BrokenPipeError):  # the watcher was killed: `finally` cleans up without it
        watcher.stdin.write(os.fsencode(what) + _END)


def _watch() -> None:
    """Wait until the other end of the pipe closes, and remove what is left to remove."""
    *told, _ = sys.stdin.buffer.read().split(_END)
    if told and told[-1] != _FAREWELL:
        directory, *parents = (Path(os.fsdecode(path)) for path in told)
        remove(directory, parents)


if __name__ == "__main__":
    _watch()
