"""Shared directory of a service's processes: readiness, and a snapshot of each process's counts.

Files are replaced atomically. Snapshots are pickled, which is safe because the supervisor creates the directory with
access for its own user only.
"""

import json
import os
import pickle
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from service.problems.server_errors import NotReadyError
from service.processes.snapshot import Snapshot, combined

_VARIABLE = "_POSBAKE_PROCESS"
_ENDED = "ended"


@dataclass(frozen=True)
class Place:
    """Position of a process among those of the service.

    Args:
        index: index of the process, from 0.
        count: number of processes.
        directory: shared directory.
        port: port that they serve, never 0.
        alive: file descriptor that is closed when the supervisor ends.
    """

    index: int
    count: int
    directory: str
    port: int
    alive: int

    def variable(self) -> dict[str, str]:
        """Return the environment variable that passes the place to a process."""
        return {_VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self | None:
        """Return the place that the supervisor assigned to this process; None without a supervisor."""
        text = environment.get(_VARIABLE)
        return None if text is None else cls(**json.loads(text))


class Shared:
    """Access of a process to the shared directory."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._directory = Path(place.directory)
        self._own = snapshot_name(place.index, os.getpid())
        self._ready = self._all_were_ready = False

    def publish(self, snapshot: Snapshot) -> None:
        """Replace this process's snapshot, and renew its mark as ready: old files in /tmp are removed. Thread-safe."""
        if self._ready:
            self.mark_ready()
        write(self._directory, self._own, snapshot)

    def others(self) -> Snapshot:
        """Return the last published counts of all other processes, including those that have ended."""
        ended, included = read_ended(self._directory)
        names = {path.name for path in self._directory.glob("*.snapshot")} - included - {self._own}
        found = (_read(self._directory / name) for name in sorted(names))
        return combined([ended, *(snapshot for snapshot in found if snapshot is not None)])

    def mark_ready(self) -> None:
        """Mark this process as ready."""
        self._ready = True
        (self._directory / f"{self._place.index}.ready").touch()

    def check(self) -> None:
        """Raise NotReadyError until every process has been ready once."""
        if self._all_were_ready:
            return
        ready, count = number_ready(self._directory), self._place.count
        if ready < count:
            raise NotReadyError(f"{ready} of {count} processes are ready")
        self._all_were_ready = True


def number_ready(directory: Path) -> int:
    """Return the number of processes that have been ready."""
    return len(list(directory.glob("*.ready")))


def snapshot_name(index: int, pid: int) -> str:
    """Return the file name of a process's snapshot."""
    return f"{index}-{pid}.snapshot"


def end(directory: Path, index: int, pid: int) -> None:
    """Add the counts of a process that has ended to those of earlier ones. Called by the supervisor only."""
    name = snapshot_name(index, pid)
    snapshot = _read(directory / name)
    if snapshot is None:
        return
    ended, included = read_ended(directory)
    # Written with the file's name before the file is removed, so that a reader counts it exactly once.
    write(directory, _ENDED, (combined([ended, snapshot.ended()]), {*included, name}))
    (directory / name).unlink()


def read_ended(directory: Path) -> tuple[Snapshot, set[str]]:
    """Return the counts of the processes that have ended, and the names of their files."""
    try:
        ended, included = pickle.loads((directory / _ENDED).read_bytes())  # noqa: S301 -- written by this user
    except FileNotFoundError:
        return Snapshot(), set()
    return ended, included


def write(directory: Path, name: str, content: object) -> None:
    """Replace a file atomically."""
    temporary = directory / f".{name}.{secrets.token_hex(4)}"
    temporary.write_bytes(pickle.dumps(content, pickle.HIGHEST_PROTOCOL))
    temporary.replace(directory / name)


def _read(path: Path) -> Snapshot | None:
    """Return a snapshot; None if the process has just ended."""
    try:
        snapshot: Snapshot = pickle.loads(path.read_bytes())  # noqa: S301 -- written by this user
    except FileNotFoundError:
        return None
    return snapshot
