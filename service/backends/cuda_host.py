"""CUDA on the host: page-locked memory, and the driver's report on GPUs.

Both call NVIDIA's libraries through ctypes: `libcudart`, installed by the extra `gpu`, and `libcuda` of the driver.
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
"""Library opened by ctypes, or an object with the functions called here."""


class PinnedBuffer:
    """Page-locked memory on the host, which the GPU reads without a copy through a buffer of the driver.

    If CUDA cannot lock the pages, the memory is used unlocked, and a warning about slower copies is logged.

    Args:
        shape, dtype: shape and dtype of `array`, which is initialised to zero.
        cudart: CUDA runtime; None does not lock, for the CPU.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, cudart: Library | None) -> None:
        kind = np.dtype(dtype)
        size = prod(shape) * kind.itemsize
        self._pages = mmap.mmap(-1, size)  # separate pages, because a page cannot be locked twice
        self.array: NDArray[Any] = np.frombuffer(self._pages, kind).reshape(shape)
        self.locked = False
        if cudart is None:
            return
        address = ctypes.c_void_p(self.array.ctypes.data)
        status = cudart.cudaHostRegister(address, ctypes.c_size_t(size), ctypes.c_uint(0))
        if status:
            logger.warning("CUDA cannot lock %d bytes (error %d), so copies to the GPU are slower", size, status)
            return
        self.locked = True
        weakref.finalize(self, cudart.cudaHostUnregister, address)  # not earlier, because a run may still use it


def open_cudart(major: str) -> Library | None:
    """Return CUDA's runtime of a major version, or None with a warning if it is not installed."""
    try:
        return ctypes.CDLL(f"libcudart.so.{major}")
    except OSError as error:
        logger.warning("memory is not page-locked, so copies to the GPU are slower: %s; install the extra gpu", error)
        return None


def driver_problem(library: str = "libcuda.so.1") -> str | None:
    """Return the driver's reason why no GPU can be used; None if there is a GPU."""
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        return f"NVIDIA's driver was not found ({error})"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        return f"NVIDIA's driver reports error {status}: {(text.value or b'unknown').decode(errors='replace')}"
    return None if count.value else "NVIDIA's driver finds no GPU"
