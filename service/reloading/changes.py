"""Changes in a repository since the last scan, and the time to load them.

An artifact that `posbake` exports appears at once, by a rename. One that is copied file by file (`cp -r`, `rsync`)
cannot be read until the copy is complete. So the first look at something new is an attempt; if it fails, the next one
waits until two looks in a row have seen the same, and only what fails then is refused. For the same reason an artifact
is gone when two looks in a row have missed it: it may be being replaced.
"""

from collections.abc import Mapping

from service.catalogue.fingerprint import Fingerprint

Found = Mapping[str, Fingerprint]
"""By artifact, named `<model>/<variant>/<version>`: what one look has seen."""


class Changes:
    """Remembers what was seen of each artifact.

    Args:
        settled: of every artifact that is served or refused: what it looked like when that was decided.
    """

    def __init__(self, settled: Found) -> None:
        self._settled = dict(settled)
        self._unfinished: dict[str, Fingerprint] = {}
        self._missed: frozenset[str] = frozenset()

    def due(self, found: Found, patient: bool) -> list[str]:
        """Return the names to be loaded now: new ones, changed ones.

        Args:
            found: by this look.
            patient: False tries at once also what failed and still changes.
        """
        due = []
        for name, seen in found.items():
            if self._settled.get(name) == seen:
                self._unfinished.pop(name, None)
            elif patient and name in self._unfinished and self._unfinished[name] != seen:
                self._unfinished[name] = seen
            else:
                due.append(name)
        return due

    def gone(self, found: Found, patient: bool) -> list[str]:
        """Return the names that are there no more; if patient, only those that the look before has missed too."""
        missed = frozenset(self._settled.keys() - found.keys())
        gone = missed & self._missed if patient else missed
        self._missed = missed - gone
        for name in self._unfinished.keys() - found.keys():
            del self._unfinished[name]
        return sorted(gone)

    def settle(self, name: str, seen: Fingerprint) -> None:
        """Remember that it was decided about an artifact that looked like this."""
        self._settled[name] = seen
        self._unfinished.pop(name, None)

    def is_final(self, name: str) -> bool:
        """Return whether an artifact that was due and cannot be read is not being written any more."""
        return name in self._unfinished

    def wait(self, name: str, seen: Fingerprint) -> None:
        """Remember that an artifact cannot be read, but may be unfinished."""
        self._unfinished[name] = seen

    def forget(self, name: str) -> None:
        """Make an artifact a new one."""
        self._settled.pop(name, None)
        self._unfinished.pop(name, None)
