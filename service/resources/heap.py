"""Return of freed memory to the system."""

import ctypes
import sys


def trim_heap() -> None:
    """Make glibc return the free pages of its heaps; other allocators are not affected.

    glibc keeps freed memory for the next allocation, in a heap for each thread. Measured with a graph of 24 MiB,
    reloaded 24 times: without this the process grew from 171 to at most 345 MiB, with it to 176 MiB.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
