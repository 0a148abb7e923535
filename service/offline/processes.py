"""Runs of a network over files in several processes on this machine, which share no interpreter lock.

Each process (`process_program`) opens the artifact with its share of the threads. A process receives about a second of
work at a time, so that none has files left for long while the others have none; results are returned in the order of
the files. The processes end when this process ends.
"""

import json
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from artifact import Artifact, Location
from artifact.text import shown
from service.backends.child_program import ended_by
from service.offline.errors import OfflineError
from service.offline.files import ImageFile
from service.offline.process_program import Message, Opened
from service.offline.running import Result
from service.offline.stopping import Stopping
from service.settings import Settings

T = TypeVar("T")

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.offline.process_program import main
main(int(sys.argv[2]))
"""
"""Program of a process, with this process's module search path, which differs from the default in a checkout."""

_SECONDS = 1.0
"""Duration of the work that a process holds, if its window allows it."""


class _Child:
    """One of the processes.

    Attributes:
        name: name for messages.
        process: the process.
        pipe: connection to it.
        files: files sent to it whose values have not been received.
        made: received values that wait for those of earlier files.
        finished: number of received values.
    """

    def __init__(self, name: str, location: Location, settings: Settings) -> None:
        self.name = name
        self.files: deque[ImageFile] = deque()
        self.made: deque[Any] = deque()
        self.finished = 0
        self._least, self._most = 2 * settings.threads, 2 * settings.threads
        ours, its = socket.socketpair()
        with its:
            try:
                self.process = subprocess.Popen(  # noqa: S603 -- this Python, posbake's program
                    [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(its.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # standard output is for the results
                    pass_fds=[its.fileno()],
                    start_new_session=True,  # a terminal's Ctrl-C reaches only this process
                )
            except OSError as error:
                ours.close()
                raise OfflineError(
                    f"{name} cannot be started: {error.strerror or error}; give a smaller --processes"
                ) from error
        self.pipe: Connection[object, Message] = Connection(ours.detach())
        self._send((location, settings))

    def begin(self, make: Callable[[Result], object]) -> None:
        """Send the function that makes a value of each result."""
        self._send(make)

    def give(self, files: Sequence[ImageFile]) -> None:
        """Send files to the process. It does not block for long, because a thread of the process receives them."""
        self.files.extend(files)
        self._send(list(files))

    def room(self, seconds: float) -> int:
        """Return the number of files that it may receive now, or 0 if they would be a small part of its work.

        Args:
            seconds: time since the beginning of the run.
        """
        wanted = work(self.finished, seconds, self._least, self._most)
        room = wanted - len(self.files)
        return room if room >= max(1, wanted // 4) else 0

    def receive(self) -> Opened | None:
        """Receive a message, which must be there or come. Returns the first one.

        Raises:
            OfflineError: the process has ended, or cannot open or run the network.
        """
        try:
            message = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(message, str):
            raise OfflineError(message)
        if isinstance(message, Opened):
            self._most = max(self._least, message.window)
            return message
        for _ in message:
            self.files.popleft()
        self.made.extend(message)
        self.finished += len(message)
        return None

    def close(self) -> None:
        """End the process; what it still runs is lost."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()

    def _send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            return  # it has ended, which `receive` reports, after the values that it sent before

    def _ended(self) -> OfflineError:
        first = f", its first unfinished file was {shown(self.files[0].path)}" if self.files else ""
        return OfflineError(
            f"{self.name} {ended_by(self.process.wait())}{first}; results written before are kept, run the same "
            "command again, with --processes 1 if memory is short"
        )


@dataclass
class ProcessRunner:
    """Runner of a network over files in several processes; created by `running_in_processes`.

    Attributes:
        artifact: the artifact.
        backend: name of the backend.
    """

    artifact: Artifact
    backend: str
    _children: Sequence[_Child]
    _most_unreturned: int
    """Maximum number of files that are in progress or whose values wait for earlier ones."""
    _order: deque[_Child] = field(default_factory=deque)
    """Process of each of these files."""

    @property
    def processes(self) -> int:
        """Number of processes."""
        return len(self._children)

    def run(self, files: Iterable[ImageFile], make: Callable[[Result], T], stopping: Stopping) -> Iterator[T]:
        """Yield `make` of the result of each file, in their order; once `stopping`, only of those sent to a process.

        Raises:
            OfflineError: a process has ended, or its backend fails repeatedly.
        """
        waiting, start = iter(files), time.monotonic()
        for child in self._children:
            child.begin(make)
        while True:
            if not stopping.requested:
                self._distribute(waiting, time.monotonic() - start)
            if not self._order:
                return
            problem = self._receive()
            while self._order and self._order[0].made:
                yield self._order.popleft().made.popleft()
            if problem is not None:
                raise problem

    def _distribute(self, waiting: Iterator[ImageFile], seconds: float) -> None:
        for child in self._children:
            room = min(child.room(seconds), self._most_unreturned - len(self._order))
            if files := list(islice(waiting, room)):
                child.give(files)
                self._order.extend([child] * len(files))

    def _receive(self) -> OfflineError | None:
        """Wait for messages, receive them, and return the error of a process."""
        ready = wait([child.pipe for child in self._children])
        problem = None
        for child in self._children:
            if child.pipe in ready:
                try:
                    child.receive()
                except OfflineError as error:
                    problem = error
        return problem


@contextmanager
def running_in_processes(location: Location, settings: Settings, count: int) -> Iterator[ProcessRunner]:
    """Yield a runner of an artifact in `count` processes, at most one for each thread.

    They start at the same time. Starting one before the others takes longer: the backends store nothing that would let
    the others open the artifact faster.

    Raises:
        OfflineError: the artifact cannot be opened, or changed meanwhile.
    """
    children: list[_Child] = []
    try:
        for number, share in enumerate(shares(settings, count), 1):
            children.append(_Child(f"process {number} of {count}", location, share))
        opened = _opened(children)
        if not all(one.artifact.manifest.same_but_accuracy(opened[0].artifact.manifest) for one in opened):
            raise OfflineError(f"{location} changed while it was opened; run the same command again")
        most = 2 * sum(one.window for one in opened)
        yield ProcessRunner(opened[0].artifact, opened[0].backend, children, most)
    finally:
        for child in children:
            child.close()


def work(finished: int, seconds: float, least: int, most: int) -> int:
    """Return the number of files that take a process _SECONDS, within the limits.

    Args:
        finished: number of finished files.
        seconds: time since the beginning of the run.
        least: lower limit.
        most: upper limit.
    """
    return max(least, min(most, int(_SECONDS * finished / seconds) if seconds else 0))


def shares(settings: Settings, count: int) -> list[Settings]:
    """Return the settings of each of `count` processes: its share of THREADS, and of an unset MAX_HELD_BYTES."""
    threads = [settings.threads // count + (number < settings.threads % count) for number in range(count)]
    held = {} if "max_held_bytes" in settings.model_fields_set else {"max_held_bytes": settings.max_held_bytes // count}
    return [settings.model_copy(update={"threads": share, **held}) for share in threads]


def _opened(children: Sequence[_Child]) -> list[Opened]:
    """Return the first message of every process, or raise the first error."""
    waiting, opened = {child.pipe: child for child in children}, []
    while waiting:
        for pipe in wait(list(waiting)):
            message = waiting.pop(pipe).receive()  # type: ignore[call-overload]
            assert message is not None
            opened.append(message)
    return opened
