"""Measurement of a function: the longest time it holds the interpreter lock, and its peak memory."""

import ctypes
import threading
import time
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def longest_lock_hold(work: Callable[[], object]) -> float:
    """Return the longest time, in CPU seconds, that `work` held the interpreter lock without another thread getting it.

    CPU time of this thread is measured, so other processes on the core do not count.
    """
    stretches = [0.0]
    clock = time.pthread_getcpuclockid(threading.get_ident())
    done = threading.Event()

    def observe() -> None:
        last = time.clock_gettime(clock)
        while not done.wait(0.001):
            now = time.clock_gettime(clock)
            stretches.append(now - last)
            last = now
        stretches.append(time.clock_gettime(clock) - last)

    watcher = threading.Thread(target=observe)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(stretches)


def unmap_on_free() -> None:
    """Make glibc return each block of 64 KiB or more to the system when it is freed, so that none is reused."""
    # M_MMAP_THRESHOLD of malloc.h; setting it also stops its dynamic growth
    assert ctypes.CDLL(None).mallopt(-3, 65_536) == 1


def peak_growth(work: Callable[[], object]) -> int:
    """Return the peak growth of the process during `work`, in bytes of resident memory (Linux).

    Exact only after `unmap_on_free`, and if no other thread allocates.
    """
    ctypes.CDLL(None).malloc_trim(0)  # memory freed earlier cannot be reused
    _RESET.write_text("5")  # resets VmHWM
    before = _bytes_of("VmRSS")
    work()
    return _bytes_of("VmHWM") - before


def _bytes_of(name: str) -> int:
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])
