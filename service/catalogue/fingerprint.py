"""Fingerprint of a directory from file metadata, cheap enough to compute every few seconds.

It contains a file's inode, size and times. The time of the last change (ctime) cannot be set back, so even a file that
was overwritten with the same size and modification time is detected.
"""

import os
from itertools import islice
from pathlib import Path

from artifact.opening import entries_below

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Path, inode, size in bytes, mtime and ctime in ns, of every file, sorted."""


_MOST_ENTRIES = 10_000
"""Maximum number of entries; the manifest of more files would be too large."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return the fingerprint of the files below a directory; empty if it is missing or cannot be listed.

    Files are not opened and links are not followed. At most 10,000 files and directories are read.
    """
    files = []
    for path, is_directory in islice(entries_below(directory), _MOST_ENTRIES):
        if is_directory:
            continue
        try:
            found = os.lstat(path)
        except FileNotFoundError:  # removed meanwhile: the next fingerprint differs
            continue
        except OSError:  # not permitted, or its path is too long: reported when it is loaded
            files.append((path, 0, 0, 0, 0))
            continue
        files.append((path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(sorted(files))
