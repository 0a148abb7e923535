"""Decoding in processes that can be killed, which `benchmarks.decoding` compares with the service's threads.

Files and tensors are passed in one block of shared memory per process; a pipe carries their sizes.
"""

from __future__ import annotations

import multiprocessing
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from numpy.typing import NDArray

from artifact import Preprocess
from imaging.preprocess import Reading
from imaging.resizers import Resize

Decode = Callable[[bytes], NDArray[np.uint8]]
"""Decode a file to uint8 [height, width, 3]."""

SIDE = 224
STEPS = Preprocess(resize=248, crop=(SIDE, SIDE), interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
MAX_PIXELS = 50_000_000
_LOCK = threading.Lock()
"""Simulated interpreter lock, shared by the sleeping decoders of a process."""
_TENSOR = np.zeros((SIDE, SIDE, 3), np.uint8)

_SIZE = struct.Struct("<Q")
_SHAPE = struct.Struct("<3Q")
_SPAWN = multiprocessing.get_context("spawn")
"""Fork would copy locks that the service's threads hold."""


@dataclass(frozen=True)
class Photograph:
    """Decode and resize as in the service."""

    resize: Resize

    def __call__(self, file: bytes) -> NDArray[np.uint8]:
        """See Decode."""
        reading = Reading(MAX_PIXELS, self.resize)
        return reading.pixels(reading.decode(file, [STEPS]), STEPS)


@dataclass(frozen=True)
class Sleeping:
    """Simulated decode: seconds without the interpreter lock, then seconds with it."""

    free: float
    held: float

    def __call__(self, file: bytes) -> NDArray[np.uint8]:  # noqa: ARG002 -- Decode's
        """See Decode."""
        time.sleep(self.free)
        with _LOCK:
            time.sleep(self.held)
        return _TENSOR


@dataclass(frozen=True)
class Nothing:
    """Empty decode, to measure the transfer alone."""

    def __call__(self, file: bytes) -> NDArray[np.uint8]:  # noqa: ARG002 -- Decode's
        """See Decode."""
        return _TENSOR


class DecodeProcess:
    """A decoding process, for one thread at a time.

    Args:
        decoder: function to call; must be picklable.
        room: bytes of the largest file or tensor.
    """

    def __init__(self, decoder: Decode, room: int) -> None:
        self._memory = SharedMemory(create=True, size=room)
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(decoder, self._memory.name, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv_bytes()  # its imports are done

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    def __call__(self, file: bytes) -> NDArray[np.uint8]:
        """Return a copy of the tensor. Raises EOFError if the process was killed."""
        _bytes_of(self._memory)[: len(file)] = file
        self._pipe.send_bytes(_SIZE.pack(len(file)))
        shape = _SHAPE.unpack(self._pipe.recv_bytes())
        return np.ndarray(shape, np.uint8, _bytes_of(self._memory)).copy()

    def kill(self) -> None:
        """Kill the process and free the shared memory."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._memory.close()
        self._memory.unlink()


def _serve(decoder: Decode, name: str, pipe: Connection) -> None:
    memory = SharedMemory(name)
    pipe.send_bytes(b"ready")
    while True:
        (size,) = _SIZE.unpack(pipe.recv_bytes())
        tensor = decoder(bytes(_bytes_of(memory)[:size]))
        np.ndarray(tensor.shape, np.uint8, _bytes_of(memory))[:] = tensor
        pipe.send_bytes(_SHAPE.pack(*tensor.shape))


def _bytes_of(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None
    return memory.buf
