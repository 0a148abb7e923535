"""Memory that is free, given back to the system.

glibc keeps freed blocks of up to 32 MB, the size of most weights, for the process to use again. Where the next step
asks for other sizes they are of no use to it, and a large network's export would take a third more than it needs.
"""

import ctypes
import sys


def give_back() -> None:
    """Give back what is free, on Linux with glibc; elsewhere the allocator is left to itself."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
