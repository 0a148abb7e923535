"""Contents of directories, for comparisons before and after."""

import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
Tree = dict[str, bytes | None]
"""Contents of files by path, and None for directories."""

_TIMEOUT = 10.0  # seconds


def tree_of(directory: Path) -> Tree:
    while True:
        try:
            return {
                path.relative_to(directory).as_posix(): None if path.is_dir() else path.read_bytes()
                for path in directory.rglob("*")
            }
        except FileNotFoundError:
            continue  # a file was removed during the walk


def wait_for(directory: Path, expected: Tree) -> None:
    """Wait until the directory has the expected content; cleanup after a killed process takes a moment."""
    end = time.monotonic() + _TIMEOUT
    while tree_of(directory) != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert tree_of(directory) == expected
