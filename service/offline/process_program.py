"""Program of one process of `processes`: opens the artifact, and runs the files that it receives.

Messages are pickled objects. It receives the location and settings, then for each run a function of a result, and lists
of files; it sends Opened, then lists of the function's values in the order of the files, or the message of an error.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from artifact import Artifact, ArtifactError
from service.catalogue.loading import Loader
from service.offline.files import ImageFile
from service.offline.running import Result, Runner, running
from service.offline.stopping import SIGNALS, Stopping
from service.problems.errors import ServiceError

Make = Callable[[Result], object]
Parts = SimpleQueue[Make | list[ImageFile]]


class Opened(NamedTuple):
    """First message: the artifact is ready.

    Attributes:
        artifact: the opened version.
        backend: name of its backend.
        window: maximum number of files in progress.
    """

    artifact: Artifact
    backend: str
    window: int


Message = Opened | list[object] | str

if TYPE_CHECKING:
    Parent = Connection[Message, Any]


def main(descriptor: int) -> None:
    """Run files until the other end of the pipe is closed.

    Args:
        descriptor: descriptor of the pipe to the parent process.
    """
    for number in SIGNALS:  # a service manager may send them to all processes; the parent decides
        signal.signal(number, signal.SIG_IGN)
    parent: Parent = Connection(descriptor)
    location, settings = parent.recv()
    parts: Parts = SimpleQueue()
    threading.Thread(target=_receive, args=(parent, parts), name="parent", daemon=True).start()
    try:
        servable = Loader(settings).open(location)
        with running(servable, settings) as runner:
            parent.send(Opened(runner.artifact, runner.backend, runner.window))
            _run(runner, parent, parts)
    except (ServiceError, ArtifactError) as error:
        parent.send(str(error))
    except Exception:  # noqa: BLE001 -- any error ends this process, which the parent reports
        traceback.print_exc()
    os._exit(1)  # hanging threads do not delay it


def _receive(parent: "Parent", parts: Parts) -> None:
    """Queue files, so that the parent's sends do not wait for runs. End this process when the parent has ended."""
    try:
        while True:
            parts.put(parent.recv())
    except (EOFError, OSError):
        os._exit(0)
    except Exception:  # noqa: BLE001 -- a message that cannot be unpickled ends this process, which the parent reports
        traceback.print_exc()
        os._exit(1)


def _run(runner: Runner, parent: "Parent", parts: Parts) -> None:
    unsent: list[object] = []
    in_progress = 0
    make = parts.get()

    def send() -> None:
        if unsent:
            parent.send(unsent)
            unsent.clear()

    def files() -> Iterator[ImageFile | None]:
        """Yield received files, and None if there are none and others are in progress.

        It waits only if every value has been sent, so the parent never waits for a value that this process holds.
        """
        nonlocal in_progress, make
        while True:
            send()
            if in_progress and parts.empty():
                yield None
                continue
            part = parts.get()
            if not isinstance(part, list):
                make = part
                continue
            for file in part:
                in_progress += 1
                yield file

    def made_of(result: Result) -> object:
        assert callable(make)
        return make(result)

    try:
        for made in runner.run(files(), made_of, Stopping()):
            in_progress -= 1
            unsent.append(made)
    except ServiceError:
        send()  # values of files before the one that failed
        raise
