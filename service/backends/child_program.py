"""Program of a child process that runs artifacts, each in a forked process, and reports the outcome.

Forking takes 10 ms; importing the runtime takes 0.35 s, so that is done once. The process that forks never runs a
graph and has one thread. Requests and outcomes are lines of JSON on stdin and stdout; it ends with its stdin.
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
"""The first line that it writes."""


class Request(TypedDict):
    """An artifact to be run, or a first small graph of OpenVINO.

    Attributes:
        module, backend: the class that runs it; empty for the small graph.
        path, manifest: of the artifact, which was verified; the manifest as JSON.
        device, cpu_precision: as Backend takes them.
        largest_batch: see `warm`.
        memory: bytes that the process may have.
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
        text: of the error; after a crash, a clause: `was ended by SIGFPE`.
    """

    verdict: str
    text: str


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # what a runtime writes there quotes names of the graph as they are
        os.dup2(null, descriptor)
    with contextlib.suppress(ImportError):  # the forked process reports it
        importlib.import_module("service.backends.openvino")
    print(READY, file=answers, flush=True)
    for line in sys.stdin:
        request: Request = json.loads(line)
        print(json.dumps(_forked(request)), file=answers, flush=True)


def _forked(request: Request) -> Outcome:
    """Return the outcome of a request, from a process of its own."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            _limit(request["memory"])
            os.write(writing, json.dumps(_outcome(request)).encode())
        finally:  # not to the end of `main`, and without destructors
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
    """Return what a process writes until it ends; end it if stdin ends before."""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(0, 0)  # its end is always reported
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
    """Bound this process's memory, have the system end it before others if there is too little, and write no core."""
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with contextlib.suppress(OSError):  # there is none but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _outcome(request: Request) -> Outcome:
    work: Callable[[Request], None] = _run if request["module"] else _run_small_graph
    try:
        work(request)
    except BackendUnavailableError as error:
        return Outcome(verdict="unavailable", text=str(error))
    except (ArtifactError, RefusalError) as error:
        return Outcome(verdict="refused", text=str(error))
    except Exception as error:  # noqa: BLE001 -- whatever it is, the server must not meet it
        return Outcome(verdict="crashed", text=f"failed: {type(error).__name__}: {error}")
    return Outcome(verdict="passed", text="")


def _run(request: Request) -> None:
    """Open an artifact on one thread, and run it as the server will.

    A backend that computes each image as if it were alone runs each golden image once: the server's runs are no others.
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
    """Have OpenVINO compile a product, and run it."""
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
    """Return what ended a process, as a clause, by its exit status (-n: by signal n)."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
