"""Exit of the process: on signals during the start, and with hanging threads."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from service.resources.abandoned import ABANDONED

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that end the service; a closed terminal sends SIGHUP."""


def handle_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Set the handler of SIGTERM, SIGINT and SIGHUP; an ignored SIGHUP stays ignored, as with nohup."""
    for number in _STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


class _StopError(BaseException):
    """A signal requested the end of the process."""


def until_stopped(run: Callable[[], int]) -> int:
    """Return the exit status of `run`, or 0 if a signal stops it before it handles signals.

    The first process of a container has no default action for SIGTERM: without this, a start that loads for minutes
    would continue.
    """
    handle_stop_signals(_stop)
    try:
        status = run()
    except BaseException:
        # An interrupted import may raise another exception; that of onnxruntime raises AttributeError.
        if not _was_stopped():
            raise
        return 0
    return 0 if _was_stopped() else status


def _was_stopped() -> bool:
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # the process is ending
    logging.getLogger("service").info("stopping at %s, before the server was ready", signal.Signals(number).name)
    raise _StopError


def end_process(status: int) -> NoReturn:
    """End the process with an exit status, even while abandoned threads hang.

    The interpreter's finalisation unwinds a daemon thread when it requests the GIL. In the C++ of ONNX Runtime this
    calls std::terminate: SIGABRT, status 134. Therefore, if such threads exist, the log and the standard streams are
    flushed, and the process ends without finalisation.
    """
    if ABANDONED:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
