"""Detection of changes in a repository between scans, and of the time to load them.

An export appears atomically, by a rename. A copy (`cp -r`, `rsync`) cannot be read until it is complete. Therefore a
new artifact is loaded at the first scan; if that fails, it is loaded again when two consecutive scans find the same
files, and only then refused. An artifact refused for a passing cause is loaded again after a pause. An artifact is
removed only when two consecutive scans do not find it, because it may be in the process of being replaced.
"""

import time
from collections.abc import Collection, Mapping
from math import inf

from service.catalogue.fingerprint import Fingerprint
from service.catalogue.loading import RETRY_SECONDS

Found = Mapping[str, Fingerprint]
"""Fingerprints of one scan, by artifact `<model>/<variant>/<version>`."""


class Changes:
    """State of each artifact over several scans.

    Args:
        settled: fingerprint of every served or refused artifact, at the time of that decision.
        passing: names of those refused for a passing cause.
    """

    def __init__(self, settled: Found, passing: Collection[str] = ()) -> None:
        self._settled = dict(settled)
        self._next_try = dict.fromkeys(passing, time.monotonic() + RETRY_SECONDS)
        self._unfinished: dict[str, Fingerprint] = {}
        self._missed: frozenset[str] = frozenset()

    def due(self, found: Found, patient: bool) -> list[str]:
        """Return the names to load now: new and changed artifacts, and those to be tried again.

        Args:
            found: this scan.
            patient: False also includes artifacts that failed and still change.
        """
        due = []
        for name, seen in found.items():
            if self._settled.get(name) == seen and time.monotonic() < self._next_try.get(name, inf):
                self._unfinished.pop(name, None)
            elif patient and name in self._unfinished and self._unfinished[name] != seen:
                self._unfinished[name] = seen
            else:
                due.append(name)
        return due

    def gone(self, found: Found, patient: bool) -> list[str]:
        """Return the names of missing artifacts; if patient, only those missing from the previous scan too."""
        missed = frozenset(self._settled.keys() - found.keys())
        gone = missed & self._missed if patient else missed
        self._missed = missed - gone
        for name in self._unfinished.keys() - found.keys():
            del self._unfinished[name]
        return sorted(gone)

    def settle(self, name: str, seen: Fingerprint, *, passing: bool = False) -> None:
        """Mark an artifact with this fingerprint as served or refused; `passing` tries it again after a pause."""
        self.forget(name)
        self._settled[name] = seen
        if passing:
            self._next_try[name] = time.monotonic() + RETRY_SECONDS

    def is_final(self, name: str) -> bool:
        """Return whether an artifact that was due and cannot be read has stopped changing."""
        return name in self._unfinished

    def wait(self, name: str, seen: Fingerprint) -> None:
        """Mark an artifact as unreadable and maybe unfinished."""
        self._unfinished[name] = seen

    def forget(self, name: str) -> None:
        """Treat an artifact as new."""
        self._settled.pop(name, None)
        self._unfinished.pop(name, None)
        self._next_try.pop(name, None)
