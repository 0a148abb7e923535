"""Costs of a piece of work for others: how long it holds the interpreter lock, and its memory."""

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def longest_hold(work: Callable[[], object]) -> float:
    """Return the most CPU seconds that `work` used in one stretch in which no other thread got the interpreter lock.

    Counted in its own CPU time: another process that takes the core adds nothing.
    """
    stretches = [0.0]
    clock = time.pthread_getcpuclockid(threading.get_ident())
    done = threading.Event()

    def look() -> None:
        last = time.clock_gettime(clock)
        while not done.wait(0.001):
            now = time.clock_gettime(clock)
            stretches.append(now - last)
            last = now
        stretches.append(time.clock_gettime(clock) - last)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(stretches)


def free_at_once() -> None:
    """Have the C library (glibc) give back each block of 64 KiB or more when it is freed: none is used again."""
    assert ctypes.CDLL(None).mallopt(-3, 65_536) == 1  # M_MMAP_THRESHOLD of malloc.h: also turns its growth off


def peak_growth(work: Callable[[], object]) -> int:
    """Return by how many bytes the process was larger at most while it did `work`, as the kernel counts (Linux).

    Exact only where no other thread allocates, after `free_at_once`.
    """
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not there to be used again
    _RESET.write_text("5")  # VmHWM begins anew
    before = _bytes_of("VmRSS")
    work()
    return _bytes_of("VmHWM") - before


def _bytes_of(name: str) -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])
