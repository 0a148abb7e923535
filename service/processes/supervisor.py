"""Supervisor of several processes: starts, replaces and stops them.

It does not serve and imports no runtime. The first process starts alone, so an invalid setting is reported once; the
others start when it is ready.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from service.processes.shared import Place, end, number_ready
from service.resources.exit import handle_stop_signals
from service.settings import Settings
from service.transport.listening import bind

logger = logging.getLogger("service")

_POLL_SECONDS = 0.05
_LONGEST_PAUSE = 30.0


def end_with_supervisor(place: Place) -> None:
    """Drain this process when its supervisor has ended without a signal."""

    def watch() -> None:
        os.read(place.alive, 1)  # returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()


@contextmanager
def _directory() -> Iterator[str]:
    """Create the shared directory, with a lock that protects it from systemd-tmpfiles, which empties /tmp by age."""
    with tempfile.TemporaryDirectory(prefix="posbake-") as directory:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield directory
        finally:
            os.close(descriptor)


@dataclass
class _Child:
    index: int
    process: subprocess.Popen[bytes] | None = None
    signals: int = 0
    """Number of signals passed on to it."""
    started: float = 0.0
    next_start: float = 0.0
    """Both in seconds of time.monotonic."""
    failures: int = 0
    """Number of consecutive ends soon after a start."""


class Supervisor:
    """Runs `settings.processes` processes until a signal.

    Args:
        settings: settings of the service.
        arguments: command line of each process.
    """

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._arguments = arguments
        self._children = [_Child(index) for index in range(settings.processes)]
        self._signals: list[int] = []
        self._status = 0

    def run(self) -> int:
        """Run, and return the exit status: 0 if every process ended with 0 after a signal, else the first other status.

        Raises:
            AddressError: the address is not available.
        """
        host, port = self._settings.host, self._settings.port
        with bind(host, port) as free:  # without SO_REUSEPORT: fails if another service has the port
            port = free.getsockname()[1]
        handle_stop_signals(self._stop)
        alive, held = os.pipe()
        try:
            with _directory() as directory, bind(host, port, shared=True):
                self._directory = Path(directory)
                self._place = Place(0, len(self._children), directory, port, alive)
                self._supervise()
        finally:
            os.close(alive)
            os.close(held)
        return self._status

    def _supervise(self) -> None:
        self._start(self._children[0])
        all_ready = False
        while any(child.process is not None for child in self._children) or not self._signals:
            time.sleep(_POLL_SECONDS)
            ready = number_ready(self._directory)
            for child in self._children:
                self._reap(child)
                self._pass_on(child)
            if self._signals:
                continue
            if ready:  # the first process is ready
                self._start_due()
            if ready == len(self._children) and not all_ready:
                all_ready = True
                logger.info("ready on %s with %d processes", self._address(), ready)

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.next_start:
                self._start(child)

    def _start(self, child: _Child) -> None:
        place = Place(child.index, self._place.count, self._place.directory, self._place.port, self._place.alive)
        child.process = subprocess.Popen(  # noqa: S603 -- this program again
            [sys.executable, "-m", "service", *self._arguments],
            env={**os.environ, **self._shares(), **place.variable()},
            pass_fds=[place.alive],
            process_group=0,  # a terminal's Ctrl-C reaches only the supervisor, which passes it on once
        )
        child.started, child.signals = time.monotonic(), 0

    def _shares(self) -> dict[str, str]:
        """Return variables that divide THREADS and MAX_HELD_BYTES among processes, if they are not set."""
        settings, count = self._settings, len(self._children)
        shares = {"threads": max(1, settings.threads // count), "max_held_bytes": settings.max_held_bytes // count}
        return {
            f"POSBAKE_{name.upper()}": str(share)
            for name, share in shares.items()
            if name not in settings.model_fields_set
        }

    def _reap(self, child: _Child) -> None:
        """Record the end of a process, and schedule its replacement."""
        if child.process is None or (status := child.process.poll()) is None:
            return
        end(self._directory, child.index, child.process.pid)
        child.process = None
        if self._signals or not number_ready(self._directory):
            if status and not self._status:
                self._status = status if status > 0 else 128 - status
            if not self._signals:  # the first process cannot start, so the others cannot either
                self._status = self._status or 1
                self._signals.append(signal.SIGTERM)
            return
        lived = time.monotonic() - child.started
        child.failures = 1 if lived > _LONGEST_PAUSE else child.failures + 1
        pause = min(_LONGEST_PAUSE, 2.0 ** (child.failures - 1) - 1)
        child.next_start = time.monotonic() + pause
        logger.error(
            "process %d of %d ended with status %d; it is replaced in %.0f s",
            *(child.index + 1, len(self._children), status, pause),
        )

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _pass_on(self, child: _Child) -> None:
        """Pass pending signals on to a process. The second signal ends a draining process."""
        while child.process is not None and child.signals < len(self._signals):
            child.process.send_signal(self._signals[child.signals])
            child.signals += 1

    def _address(self) -> str:
        host = self._settings.host
        return f"http://[{host}]:{self._place.port}" if ":" in host else f"http://{host}:{self._place.port}"
