"""Log handler with its own thread, so that an unread pipe or a slow disk does not delay responses.

Lines wait in a queue of at most MOST_WAITING characters. Further lines are dropped and counted, and their number is
logged when the log can be written again.
"""

import logging
import os
import select
import sys
import threading
import time
from queue import Empty, SimpleQueue

MOST_WAITING = 4 * 2**20
_MOST_AT_ONCE = 65_536
_COLLECT_SECONDS = 0.05
"""Interval in which lines are collected: a thread that wakes for each line would compete for the GIL."""
_POLL_SECONDS = 0.005
_FLUSH_SECONDS = 1.0


class LogWriter(logging.Handler):
    """Handler that queues formatted lines and writes them to a file descriptor in order.

    Args:
        descriptor: open for writing; by default that of stderr.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__()
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._lines: SimpleQueue[str] = SimpleQueue()  # its `put` may be interrupted by a signal that logs
        self._queued = 0  # characters; only emit, under the handler's lock, changes it
        self._written = 0  # characters; only the thread changes it
        self._overflowed = 0  # lines; only emit changes it
        self._failed = 0  # lines; only the thread changes it
        self._reported = 0  # of both
        self._flushing = threading.Event()
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """Number of lines lost since the start."""
        return self._overflowed + self._failed

    def emit(self, record: logging.LogRecord) -> None:
        """Format a line, in the context of its request, and queue it."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 -- as in every logging handler, the caller must not fail
            self.handleError(record)
            return
        if self._queued - self._written + len(line) > MOST_WAITING:
            self._overflowed += 1
            return
        self._queued += len(line)
        self._lines.put(line)

    def flush(self) -> None:
        """Wait until all lines are written, at most _FLUSH_SECONDS, because the log may no longer be read."""
        end = time.monotonic() + _FLUSH_SECONDS
        self._flushing.set()
        while self._written < self._queued and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        self._flushing.clear()

    def _write_all(self) -> None:
        while True:
            lines = [self._lines.get()]
            if self._queued - self._written < _MOST_AT_ONCE:
                self._flushing.wait(_COLLECT_SECONDS)
            size = len(lines[0])
            while size < _MOST_AT_ONCE:
                try:
                    lines.append(self._lines.get_nowait())
                except Empty:
                    break
                size += len(lines[-1])
            lost = self._write("".join(lines), len(lines))
            if not lost and self.dropped > self._reported:
                self._report()
            self._written += size

    def _report(self) -> None:
        dropped = self.dropped
        text = "%d lines of the log were dropped before this one, because it was not written fast enough"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped - self._reported,), None)
        if not self._write(self.format(record) + "\n", 0):
            self._reported = dropped

    def _write(self, text: str, lines: int) -> bool:
        """Write lines, and return whether that failed and the lines are lost."""
        left = memoryview(text.encode(errors="backslashreplace"))
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # the other end made the pipe non-blocking
                select.select((), (self._descriptor,), ())
            except OSError:  # a full disk, a closed pipe: later writes may succeed
                self._failed += lines
                return True
        return False


def dropped_lines() -> int:
    """Return the number of log lines lost by this process."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LogWriter))
