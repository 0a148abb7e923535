"""Signals that end an export: each raises what Ctrl-C raises, so that what cleans up after Ctrl-C cleans up after all.

A handler runs between any two steps of Python, also inside a destructor or the callback of a weak reference, of which
torch has many. What is raised there is lost: Python only tells `sys.unraisablehook` of it. So it is raised once more.
"""

import _thread
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_AFTER = 0.01  # seconds: by then the destructor is over, or else it is lost again and raised again


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Inside the block, SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread, where this must be entered.

    A signal that is ignored stays ignored, as under nohup.
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
    """Let the handler run once more a little later; nothing is waited for, as threading.Timer waits for its thread."""

    def wait_and_interrupt() -> None:
        time.sleep(_AGAIN_AFTER)
        _thread.interrupt_main(signal.Signals(number))

    _thread.start_new_thread(wait_and_interrupt, ())


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def exit_status(interruption: KeyboardInterrupt) -> int:
    """Return 128 and the signal's number, as shells count."""
    return 128 + (interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT)
