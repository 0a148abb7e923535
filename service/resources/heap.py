"""Return of freed memory to the system."""

import ctypes
import sys


def trim_heap() -> None:
    """Have glibc return the free pages of its heaps; other allocators are unchanged.

    glibc keeps what is freed for the next allocation, in a heap of each thread. Measured with a graph of 24 MiB,
    reloaded 24 times: without this the process grew from 171 to 345 MiB before it grew no more, with it to 176.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
