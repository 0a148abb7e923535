"""Signals that terminate an export. Each raises a KeyboardInterrupt, so the clean-up after Ctrl-C applies to all.

A handler can run inside a destructor or the callback of a weak reference, of which torch has many. An exception raised
there is only passed to `sys.unraisablehook`, so it must be raised again.
"""

import _thread
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RETRY_DELAY = 0.01  # seconds; the exception may be lost, and raised, several times


class Interrupted(KeyboardInterrupt):
    """A signal requested the termination of the process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP raise Interrupted inside the context, which must be entered in the main thread.

    Ignored signals stay ignored, as with nohup. An exception that follows a signal is raised as Interrupted, because
    extension modules replace exceptions: NumPy raises a TypeError for any error while it compares structured arrays.
    """
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    wanted = [number for number in _SIGNALS if handlers[number] is not signal.SIG_IGN]
    hook = sys.unraisablehook
    received: list[int] = []

    def note_lost(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Interrupted):
            _interrupt_again(lost.exc_value.number)
        else:
            hook(lost)

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if any(running is note_lost.__code__ for running in _codes(frame)):
            _interrupt_again(number)  # an exception would also be lost here
        else:
            raise Interrupted(number)

    sys.unraisablehook = note_lost
    for number in wanted:
        signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if received:
            raise Interrupted(received[-1]) from error
        raise
    finally:
        for number in wanted:
            signal.signal(number, handlers[number])
        sys.unraisablehook = hook


def _interrupt_again(number: int) -> None:
    """Run the handler again after a delay, on a thread that is not joined at exit, unlike threading.Timer's."""

    def wait_and_interrupt() -> None:
        time.sleep(_RETRY_DELAY)
        _thread.interrupt_main(signal.Signals(number))

    _thread.start_new_thread(wait_and_interrupt, ())


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def exit_status(interruption: KeyboardInterrupt) -> int:
    """Return 128 plus the number of the signal, as shells do."""
    return 128 + (interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT)
