"""Artifacts are run in a child process before they are opened in the server's: there, a crash ends nothing else.

OpenVINO has ended its process when it compiled its first graph on some CPUs (SIGFPE and SIGILL, reported for AMD EPYC
in openvinotoolkit/openvino), and does so for some damaged graphs (an allocation of terabytes: SIGSEGV).

There is a child as long as one is needed, or is kept for more artifacts (`Children.kept`); see child_program for what
it does.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

from artifact import Artifact
from artifact.text import shown
from service.backends.child_program import READY, Outcome, Request, ended_by
from service.problems.errors import BackendUnavailableError, GraphError

SECONDS = 60.0
"""The time limit of the first small graph: reading the libraries from a slow disk takes several."""

PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.backends.child_program import main
main()
"""
"""With the server's own search path: where it was started in a checkout, that is not the default."""

_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""NumPy's threads would not survive a fork. OpenVINO's and ONNX Runtime's are started after it, and are counted."""

_REMEMBERED = 1000
"""Artifacts that passed, of which this many are known."""

Arm = Callable[[Callable[[], object]], object]
"""Gets what ends a request, to be called when a time limit is exceeded."""


class _Child:
    """A child process. Its methods may be called by one thread at a time, `kill` by any."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- this Python, our own program
            [sys.executable, "-c", PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # signals of the terminal are the server's; what it forks is killed with it
        )
        self._ready = False

    def ask(self, request: Request) -> Outcome:
        """Return the outcome of a request; of a child that ends meanwhile, how it ended."""
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None
        assert receiving is not None
        try:
            if not self._ready:
                self._ready = receiving.readline().decode().strip() == READY
            sending.write(json.dumps(request).encode() + b"\n")
            sending.flush()
            line = receiving.readline()
        except (OSError, ValueError):  # ValueError: it was killed, and its pipes are closed
            line = b""
        if line:
            outcome: Outcome = json.loads(line)
            return outcome
        return Outcome(verdict="crashed", text=ended_by(self._process.wait()))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the child and what it forked."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and release its pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not sent any more
                pipe.close()


class Children:
    """The child processes of this one: as many as there are requests at a time. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._keepers = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep children for later requests while the context is open; the last one to close ends them."""
        with self._lock:
            self._keepers += 1
        try:
            yield
        finally:
            with self._lock:
                self._keepers -= 1
                ended, self._idle = ([], self._idle) if self._keepers else (self._idle, [])
            for child in ended:
                child.close()

    def ask(self, request: Request, seconds: float, arm: Arm | None = None) -> Outcome:
        """Return how a request ended.

        Args:
            request: what is run.
            seconds: that it may take.
            arm: gets what ends it before; of no effect after it ended.
        """
        with self.kept():
            with self._lock:
                child = self._idle.pop() if self._idle else None
            try:
                child = child or _Child()
            except OSError as error:
                return Outcome(verdict="crashed", text=f"could not be started: {error.strerror or error}")
            turn = _Turn(child)
            timer = threading.Timer(seconds, turn.expire)
            timer.start()
            if arm is not None:
                arm(turn.kill)
            try:
                outcome = child.ask(request)
            except BaseException:
                child.kill()
                raise
            finally:
                timer.cancel()
                turn.end()
                if child.alive:
                    with self._lock:
                        self._idle.append(child)
                else:
                    child.close()
        if turn.expired and outcome["verdict"] != "passed":
            return Outcome(verdict="crashed", text=f"took longer than {seconds:.3g} s")
        return outcome


class _Turn:
    """A child's work on one request, outside of which the request's time limit does not end the child."""

    def __init__(self, child: _Child) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = child
        self.expired = False

    def expire(self) -> None:
        self.expired = True
        self.kill()

    def kill(self) -> None:
        with self._lock:
            if self._child is not None:
                self._child.kill()

    def end(self) -> None:
        with self._lock:
            self._child = None


CHILDREN = Children()
"""Those of this process."""

_passed: dict[tuple[object, ...], None] = {}
"""Artifacts that passed, by their content; the libraries are those of this process. The oldest first."""


@cache
def first_run() -> None:
    """Have a child process compile and run a small graph with OpenVINO; once, if it succeeds.

    Raises:
        BackendUnavailableError: it crashed, failed, or took longer than a minute.
    """
    small = Request(
        module="",
        backend="",
        path="",
        manifest="",
        device="",
        cpu_precision="",
        largest_batch=1,
        memory=2**40,
    )
    outcome = CHILDREN.ask(small, SECONDS)
    if outcome["verdict"] != "passed":
        raise BackendUnavailableError(
            f"backend openvino is not available: a child process in which it compiled a small graph "
            f"{shown(outcome['text'])}; choose --backend onnxruntime, or another version of OpenVINO"
        )


def check_in_child(artifact: Artifact, request: Request, seconds: float, arm: Arm) -> None:
    """Have a child process open and run an artifact; not again if it passed. See Way.check_in_child.

    Raises:
        GraphError: the child crashed, or the artifact was refused there.
        BackendUnavailableError: as Backend.
    """
    files = tuple((name, file.sha256) for name, file in sorted(artifact.manifest.files.items()))
    about = tuple(request[key] for key in ("backend", "device", "cpu_precision", "largest_batch"))
    if (files, about) in _passed:
        return
    outcome = CHILDREN.ask(request, seconds, arm)
    if outcome["verdict"] == "unavailable":
        raise BackendUnavailableError(outcome["text"])
    if outcome["verdict"] == "refused":
        raise GraphError(outcome["text"])
    if outcome["verdict"] != "passed":
        raise GraphError(
            f"a child process in which {request['backend']} ran it first {shown(outcome['text'])}; export the artifact "
            "again, or choose another --backend"
        )
    _passed[files, about] = None
    while len(_passed) > _REMEMBERED:
        del _passed[next(iter(_passed))]
