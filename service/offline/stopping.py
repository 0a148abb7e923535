"""Signals during a run: the first finishes started work, which keeps the output complete; the second ends the run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(KeyboardInterrupt):
    """A signal requested the end of the process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """128 plus the signal's number, as in shells."""
        return 128 + self.number


class Stopping:
    """State of stop requests by signals. Outside `deferred`, a signal raises StoppedError immediately."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._deferred = False

    @property
    def requested(self) -> bool:
        """True if a signal came while it was deferred."""
        return self._number is not None

    def check(self) -> None:
        """Raise StoppedError if a signal has come."""
        if self._number is not None:
            raise StoppedError(self._number)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle signals inside the context, on the main thread; ignored signals stay ignored, as with nohup."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        wanted = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
        for number in wanted:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number in wanted:
                signal.signal(number, before[number])

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the context the first signal only sets `requested`; it is raised at the end unless another error is.

        Raises:
            StoppedError: at the end for the first signal, or at once for the second.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._deferred and self._number is None:
            self._number = number
            return
        raise StoppedError(number)
