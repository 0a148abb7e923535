"""Everything in a directory, to be compared with what is in it later."""

import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
Tree = dict[str, bytes | None]
"""Contents of files by path, and None for directories."""

_PATIENCE = 10.0  # seconds


def tree_of(directory: Path) -> Tree:
    while True:
        try:
            return {
                path.relative_to(directory).as_posix(): None if path.is_dir() else path.read_bytes()
                for path in directory.rglob("*")
            }
        except FileNotFoundError:
            continue  # something is being removed while we look: look again


def wait_for(directory: Path, expected: Tree) -> None:
    """Wait until the directory is as expected: what cleans up after a killed process takes a moment."""
    end = time.monotonic() + _PATIENCE
    while tree_of(directory) != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert tree_of(directory) == expected
