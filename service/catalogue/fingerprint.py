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
"""Limit for artifacts: the manifest of more files would be too large."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return the fingerprint of the files below a directory; empty if it is missing or cannot be listed.

    No file is opened and no link followed. Of more than 10,000 files and directories, only as many are read.
    """
    files = []
    for path, is_directory in islice(entries_below(directory), _MOST_ENTRIES):
        if is_directory:
            continue
        try:
            found = os.lstat(path)
        except FileNotFoundError:  # removed since it was listed: the next fingerprint differs
            continue
        except OSError:  # not permitted, or its path is too long: loading it reports that
            files.append((path, 0, 0, 0, 0))
            continue
        files.append((path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(sorted(files))
