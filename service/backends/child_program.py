"""Program of a child process that runs artifacts, each in a forked process, and reports the outcome.

Forking takes 10 ms; importing the runtime takes 0.35 s and is done once. The process that forks never runs a graph and
has one thread. Requests and outcomes are lines of JSON on stdin and stdout; the process ends when stdin is closed.
"""

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from artifact import Artifact, ArtifactError, Manifest
from service.problems.errors import BackendUnavailableError, RefusalError

READY = "ready"
"""First line of output."""


class Request(TypedDict):
    """Artifact to run, or OpenVINO's first small graph.

    Attributes:
        module, backend: class of the backend; empty for the small graph.
        path, manifest: path and manifest (JSON) of the verified artifact.
        device, cpu_precision: arguments of Backend.
        largest_batch: see `warm`.
        memory: memory limit of the process in bytes.
    """

    module: str
    backend: str
    path: str
    manifest: str
    device: str
    cpu_precision: str
    largest_batch: int
    memory: int


class Outcome(TypedDict):
    """Outcome of a request.

    Attributes:
        verdict: `passed`; `refused`, by a runtime or a check; `unavailable`, as BackendUnavailableError; or `crashed`.
        text: message of the error; after a crash, a clause such as `was ended by SIGFPE`.
    """

    verdict: str
    text: str


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # a runtime's output there quotes names of the graph unescaped
        os.dup2(null, descriptor)
    with contextlib.suppress(ImportError):  # reported by the forked process
        importlib.import_module("service.backends.openvino")
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        request: Request = json.loads(line)
        print(json.dumps(_forked(request)), file=answers, flush=True)


def _forked(request: Request) -> Outcome:
    """Run a request in a forked process and return its outcome."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _limit(request["memory"])
            os.write(writing, json.dumps(_outcome(request)).encode())
        finally:  # never returns to `main`, and runs no destructors
            os._exit(0)
    os.close(writing)
    try:
        found = _read(reading, pid)
    finally:
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if found:
        outcome: Outcome = json.loads(found)
        return outcome
    return Outcome(verdict="crashed", text=ended_by(status))


def _read(reading: int, pid: int) -> bytes:
    """Return the output of a process until it ends; kill it if stdin is closed before."""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(0, 0)  # POLLHUP is always reported
    found = b""
    while True:
        ready = dict(poll.poll())
        if 0 in ready:
            os.kill(pid, signal.SIGKILL)
            os._exit(1)
        more = os.read(reading, 65536)
        if not more:
            return found
        found += more


def _limit(memory: int) -> None:
    """Limit this process's memory, make it the first candidate of the OOM killer, and disable core dumps."""
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")


def _outcome(request: Request) -> Outcome:
    work: Callable[[Request], None] = _run if request["module"] else _run_small_graph
    try:
        work(request)
    except BackendUnavailableError as error:
        return Outcome(verdict="unavailable", text=str(error))
    except (ArtifactError, RefusalError) as error:
        return Outcome(verdict="refused", text=str(error))
    except Exception as error:  # noqa: BLE001 -- any error is reported to the server as an outcome
        return Outcome(verdict="crashed", text=f"failed: {type(error).__name__}: {error}")
    return Outcome(verdict="passed", text="")


def _run(request: Request) -> None:
    """Open an artifact with one thread, and run it like the server.

    A backend that computes images separately runs each golden image once, because the server's runs are the same.
    """
    from service.backends.warming import check_images, warm

    backend: Any = getattr(importlib.import_module(request["module"]), request["backend"])
    artifact = Artifact(Path(request["path"]), Manifest.model_validate_json(request["manifest"]), ())
    opened = backend(artifact, request["device"], 1, request["cpu_precision"])
    if opened.batched:
        warm(artifact, opened, request["largest_batch"])
    else:
        opened.run(check_images(artifact))


def _run_small_graph(_: Request) -> None:
    """Compile and run a matrix product with OpenVINO."""
    import numpy as np
    import openvino
    from openvino import opset13 as opset

    weights = np.arange(12, dtype=np.float32).reshape(4, 3)
    images = np.ones((2, 4), np.float32)
    given = opset.parameter([2, 4], openvino.Type.f32)
    product = opset.matmul(given, opset.constant(weights), False, False)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    compiled = openvino.Core().compile_model(openvino.Model([product], [given]), "CPU", properties)
    found = compiled.create_infer_request().infer({0: images})[0]
    if not np.allclose(found, images @ weights):
        raise BackendUnavailableError(f"a product is {found.tolist()}, expected {(images @ weights).tolist()}")


def ended_by(status: int) -> str:
    """Return the way a process ended as a clause, from its exit status (-n: signal n)."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
