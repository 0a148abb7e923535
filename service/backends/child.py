"""Runs of artifacts in a child process before the server opens them, so that a crash does not end the server.

OpenVINO crashed on some CPUs when it compiled its first graph (SIGFPE and SIGILL, reported for AMD EPYC in
openvinotoolkit/openvino), and crashes for some damaged graphs (an allocation of terabytes: SIGSEGV).

A child exists while it is needed, or is kept for more artifacts (`Children.kept`). `child_program` is its program.
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
"""Time limit of the first small graph: reading the libraries from a slow disk takes several seconds."""

PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from service.backends.child_program import main
main()
"""
"""Program of the child, with the server's module search path, which differs from the default in a checkout."""

_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Limits for NumPy's threads, which do not survive a fork. OpenVINO's and ONNX Runtime's start after the fork."""

_REMEMBERED = 1000
"""Maximum number of passed artifacts that are remembered."""

Arm = Callable[[Callable[[], object]], object]
"""Receives a function that ends a request, to be called if a time limit is exceeded."""


class _Child:
    """Child process. Not thread-safe, except `kill`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- this Python, posbake's program
            [sys.executable, "-c", PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,  # not reached by signals of the terminal; killed together with its forks
        )
        self._ready = False

    def ask(self, request: Request) -> Outcome:
        """Run a request and return its outcome; if the child ends, the way it ended."""
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None
        assert receiving is not None
        try:
            if not self._ready:
                self._ready = receiving.readline().decode().strip() == READY
            sending.write(json.dumps(request).encode() + b"\n")
            sending.flush()
            line = receiving.readline()
        except (OSError, ValueError):  # ValueError: the child was killed, and its pipes are closed
            line = b""
        if line:
            outcome: Outcome = json.loads(line)
            return outcome
        return Outcome(verdict="crashed", text=ended_by(self._process.wait()))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the child and its forks."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child, and release its pipes."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # unsent data
                pipe.close()


class Children:
    """Child processes of this process, one for each concurrent request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._keepers = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep children for later requests inside the context; leaving the last context ends them."""
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
        """Run a request and return its outcome.

        Args:
            request: the request.
            seconds: time limit.
            arm: receives a function that ends the request earlier; it has no effect afterwards.
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
    """Work of a child on one request. The request's time limit kills the child only during this work."""

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
"""Child processes of this process."""

_passed: dict[tuple[object, ...], None] = {}
"""Hashes of artifacts that passed with the libraries of this process, oldest first."""


@cache
def first_run() -> None:
    """Compile and run a small graph with OpenVINO in a child process; only once if it succeeds.

    Raises:
        BackendUnavailableError: the child crashed, failed, or took longer than a minute.
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
    """Open and run an artifact in a child process, unless it already passed. See Way.check_in_child.

    Raises:
        GraphError: the child crashed or refused the artifact.
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
            f"its test run by {request['backend']} in a child process {shown(outcome['text'])}; export the artifact "
            "again, or choose another --backend"
        )
    _passed[files, about] = None
    while len(_passed) > _REMEMBERED:
        del _passed[next(iter(_passed))]
