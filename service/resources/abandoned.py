"""Counting of abandoned threads: Python cannot stop work that exceeds its time limit.

An abandoned thread may use a core until its work returns. It is counted until then, and the interpreter must not be
finalised meanwhile (service/resources/exit.py).
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Literal

Kind = Literal["decode", "run", "load"]
"""Kind of abandoned work: decoding, a run of a backend, opening a backend (at start, reload or restart)."""

KINDS: tuple[Kind, ...] = ("decode", "run", "load")


class AbandonedThreads:
    """Counter of threads until they end. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Kind] = {}
        self._recorded: Counter[Kind] = Counter()

    def record(self, thread: threading.Thread, kind: Kind) -> None:
        """Count a started thread, once, until it ends."""
        with self._lock:
            if thread not in self._threads:
                self._threads[thread] = kind
                self._recorded[kind] += 1

    def __len__(self) -> int:
        """Return the number of threads that have not ended."""
        return sum(self.alive().values())

    def alive(self) -> Mapping[Kind, int]:
        """Return the number of threads that have not ended, for each of KINDS."""
        with self._lock:
            self._threads = {thread: kind for thread, kind in self._threads.items() if thread.is_alive()}
            counts = Counter(self._threads.values())
        return {kind: counts[kind] for kind in KINDS}

    def recorded(self) -> Mapping[Kind, int]:
        """Return the number of threads recorded since the start of the process, for each of KINDS."""
        with self._lock:
            return {kind: self._recorded[kind] for kind in KINDS}


ABANDONED = AbandonedThreads()
"""Abandoned threads of this process; all code that abandons a thread records it here."""
