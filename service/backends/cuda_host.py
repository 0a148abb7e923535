"""The host's side of CUDA: page-locked memory, and what the driver says of the GPUs.

Both ask NVIDIA's libraries by ctypes: `libcudart`, which the extra `gpu` brings, and `libcuda`, which is the driver's.
"""

import ctypes
import logging
import mmap
import weakref
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

logger = logging.getLogger(__name__)

Library = Any
"""A library as ctypes opens it, or what has the functions that are called here."""


class PinnedBuffer:
    """Page-locked memory on the host, which the GPU reads without a copy in a buffer of the driver.

    Where CUDA does not lock the pages, the memory works as well, copies are slower, and the log says so.

    Args:
        shape, dtype: of `array`, which begins as zeros.
        cudart: CUDA's runtime; None locks nothing, for the CPU.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, cudart: Library | None) -> None:
        kind = np.dtype(dtype)
        size = prod(shape) * kind.itemsize
        self._pages = mmap.mmap(-1, size)  # of its own, because a page cannot be locked twice
        self.array: NDArray[Any] = np.frombuffer(self._pages, kind).reshape(shape)
        self.locked = False
        if cudart is None:
            return
        address = ctypes.c_void_p(self.array.ctypes.data)
        status = cudart.cudaHostRegister(address, ctypes.c_size_t(size), ctypes.c_uint(0))
        if status:
            logger.warning("CUDA does not lock %d bytes (error %d), so copies to the GPU are slower", size, status)
            return
        self.locked = True
        weakref.finalize(self, cudart.cudaHostUnregister, address)  # not earlier: a run may use it until it ends


def open_cudart(major: str) -> Library | None:
    """Return CUDA's runtime of a major version, or None with a warning where it is not installed."""
    try:
        return ctypes.CDLL(f"libcudart.so.{major}")
    except OSError as error:
        logger.warning("memory is not page-locked, so copies to the GPU are slower: %s; install the extra gpu", error)
        return None


def driver_problem(library: str = "libcuda.so.1") -> str | None:
    """Return why no GPU can be used, as the driver says; None if there is one."""
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        return f"NVIDIA's driver is not there ({error})"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        return f"NVIDIA's driver answers error {status}: {(text.value or b'unknown').decode(errors='replace')}"
    return None if count.value else "NVIDIA's driver finds no GPU"
