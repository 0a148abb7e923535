"""What a directory looks like without opening its files: cheap enough to be asked every few seconds.

A file's inode, size and times are compared. The time of its last change (ctime) cannot be set back, so that even a file
that was overwritten by one of the same size, with the same modification time, is noticed.
"""

import os
from pathlib import Path

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Path, inode, size in bytes, mtime and ctime in ns, of every file, sorted."""


def fingerprint(directory: Path) -> Fingerprint:
    """Return that of all files below a directory; of one that is missing, or cannot be listed, the empty one."""
    files = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            try:
                found = path.lstat()
            except FileNotFoundError:  # removed since it was listed, so the next one differs from this in any case
                continue
            files.append((str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    return tuple(sorted(files))
