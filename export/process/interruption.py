"""Signals that end an export: each raises a KeyboardInterrupt, so the clean-up after Ctrl-C applies to all of them.

A handler runs between any two bytecodes, even inside a destructor or the callback of a weak reference, of which torch
has many. An exception raised there is lost: Python only passes it to `sys.unraisablehook`. Therefore it is raised
again.
"""

import _thread
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_AFTER = 0.01  # seconds; if the destructor is still running, the exception is lost and raised again


class Interrupted(KeyboardInterrupt):
    """A signal requested the end of the process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Make SIGINT, SIGTERM and SIGHUP raise Interrupted inside the context, which must be entered in the main thread.

    Ignored signals stay ignored, as with nohup.
    """
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    wanted = [number for number in _SIGNALS if handlers[number] is not signal.SIG_IGN]
    hook = sys.unraisablehook

    def note_lost(lost: "sys.UnraisableHookArgs") -> None:
        if isinstance(lost.exc_value, Interrupted):
            _interrupt_again(lost.exc_value.number)
        else:
            hook(lost)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if any(running is note_lost.__code__ for running in _codes(frame)):
            _interrupt_again(number)  # it would be lost here as well
        else:
            raise Interrupted(number)

    sys.unraisablehook = note_lost
    for number in wanted:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, handlers[number])
        sys.unraisablehook = hook


def _interrupt_again(number: int) -> None:
    """Run the handler again a little later, without waiting (threading.Timer would wait for its thread)."""

    def wait_and_interrupt() -> None:
        time.sleep(_AGAIN_AFTER)
        _thread.interrupt_main(signal.Signals(number))

    _thread.start_new_thread(wait_and_interrupt, ())


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def exit_status(interruption: KeyboardInterrupt) -> int:
    """Return 128 plus the signal's number, as in shells."""
    return 128 + (interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT)
