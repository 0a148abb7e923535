"""Memory budget of all requests: bodies, as sent and expanded, and decoded pixels.

The default is half of the memory available to the process; the other half is for models and the allocator. Sources:
the kernel's cgroup-v2.rst (`memory.max`) and memory.rst of version 1 (`memory.limit_in_bytes`).
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.problems.client_errors import ClientGoneError, TooLargeToHoldError
from service.problems.server_errors import MemoryFullError
from service.resources.cores import cgroup_folders


class MemoryBudget:
    """Counter of reserved bytes with a limit. Thread-safe.

    Args:
        limit: MAX_HELD_BYTES, for all requests together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        """Bytes currently reserved."""
        self.refused = 0
        """Number of refused requests for memory."""
        self.lock = threading.RLock()

    def take(self, size: int, own: int = 0) -> None:
        """Reserve `size` more bytes.

        Args:
            size: bytes.
            own: bytes already reserved by the same request.

        Raises:
            TooLargeToHoldError: the request would not fit if it were the only one.
            MemoryFullError: it does not fit at the moment.
        """
        with self.lock:
            if self.held + size <= self.limit:
                self.held += size
                return
            self.refused += 1
        if own + size > self.limit:
            raise TooLargeToHoldError(
                f"the request needs {own + size} bytes of memory or more, but the server's MAX_HELD_BYTES allows "
                f"{self.limit} for all requests together; send less, or start the server with more",
                limit=self.limit,
            )
        raise MemoryFullError(
            f"the request needs {size} bytes of memory, which other requests use (MAX_HELD_BYTES: {self.limit}); "
            "try again later"
        )

    def give_back(self, size: int) -> None:
        """Release `size` bytes."""
        with self.lock:
            self.held -= size

    @contextmanager
    def reserve(self, size: int, own: int = 0) -> Iterator[None]:
        """Reserve `size` bytes inside the context: the peak of one decode.

        Args:
            size: bytes.
            own: bytes already reserved by the same request.

        Raises:
            TooLargeToHoldError, MemoryFullError: as `take`.
        """
        self.take(size, own)
        try:
            yield
        finally:
            self.give_back(size)


class RequestMemory:
    """Memory of one request, until it is answered.

    Args:
        held: budget of all requests.
    """

    __slots__ = ("_answered", "_held", "_size")

    def __init__(self, held: MemoryBudget) -> None:
        self._held = held
        self._size = 0
        self._answered = False

    def grow(self, size: int) -> None:
        """Reserve `size` more bytes.

        Raises:
            TooLargeToHoldError, MemoryFullError: as `MemoryBudget.take`.
            ClientGoneError: the request is already answered; this thread may stop.
        """
        with self._held.lock:
            if self._answered:
                raise ClientGoneError("the request was answered before its body was expanded")
            self._held.take(size, self._size)
            self._size += size

    def release(self) -> None:
        """Release all bytes, and refuse further ones."""
        with self._held.lock:
            self._answered = True
            self._held.give_back(self._size)
            self._size = 0


def half_of_memory(root: Path = Path("/")) -> int:
    """Return half of the memory available to this process in bytes, limited by the machine and by cgroups.

    Args:
        root: where `proc` and `sys` are.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)]) // 2


def _limits(root: Path) -> Iterator[int]:
    for folder in cgroup_folders(root, "memory", ("memory",)):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (folder / name).is_file():
                text = (folder / name).read_text(encoding="utf-8").strip()
                if text != "max":
                    yield int(text)
