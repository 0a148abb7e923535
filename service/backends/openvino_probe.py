"""OpenVINO's first compilation, in a child process.

On some CPUs it ended the process with SIGFPE or SIGILL (openvinotoolkit/openvino, reported for AMD EPYC). It takes
about 0.4 s, once a process.
"""

import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from artifact.text import shown
from service.problems.errors import BackendUnavailableError

PROGRAM = Path(__file__).with_name("openvino_child.py")

SECONDS = 60.0
"""The time limit: reading the libraries from a slow disk takes several."""


@cache
def probe() -> None:
    """Have a child process compile and run a small graph.

    Raises:
        BackendUnavailableError: it crashed, failed, or took too long. Tried again when it is called again.
    """
    command = [sys.executable, "-P", str(PROGRAM)]  # without the program's directory, where openvino.py is another one
    try:
        done = subprocess.run(  # noqa: S603 -- this Python, our own file
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _unavailable(f"took longer than {SECONDS:g} s") from error
    except OSError as error:
        raise _unavailable(f"could not be started: {error.strerror or error}") from error
    if done.returncode < 0:
        raise _unavailable(f"was ended by {_signal(-done.returncode)}")
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise _unavailable(f"failed: {shown(last)}")


def _unavailable(what: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"backend openvino is not available: a child process in which it compiled a small graph {what}; "
        "choose --backend onnxruntime, or another version of OpenVINO"
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
