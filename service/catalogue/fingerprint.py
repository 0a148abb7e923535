"""Fingerprint of a directory from its file metadata, cheap enough to be taken every few seconds.

A file's inode, size and times are compared. The time of its last change (ctime) cannot be set back, so that even a file
that was overwritten by one of the same size, with the same modification time, is noticed.
"""

import os
from itertools import islice
from pathlib import Path

from artifact.opening import entries_below

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Path, inode, size in bytes, mtime and ctime in ns, of every file, sorted."""


_MOST_ENTRIES = 10_000
"""What has more files and directories is no artifact: its manifest would be too large."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return that of the files below a directory; of one that is missing, or cannot be listed, the empty one.

    No file is opened, no link followed, nothing waited for. Of more than 10,000 files and directories only as many are
    looked at.
    """
    files = []
    for path, is_directory in islice(entries_below(directory), _MOST_ENTRIES):
        if is_directory:
            continue
        try:
            found = os.lstat(path)
        except FileNotFoundError:  # removed since it was listed, so the next one differs from this in any case
            continue
        except OSError:  # may not be looked at, or its path is too long: loading it says so
            files.append((path, 0, 0, 0, 0))
            continue
        files.append((path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(sorted(files))
