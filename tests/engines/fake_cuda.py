# ruff: noqa: N801, N802, N815 -- the names are CUDA's
"""Fake of the CUDA runtime's interface `cuda.bindings.runtime`, on memory of this process.

Streams are lazy: work runs only when it is waited for, in the order of its stream, so that a missing wait between two
streams or a missing synchronisation gives wrong results.
"""

import ctypes
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIBIBYTE = 2**30


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


Work = Callable[[], object]
OK = Status.cudaSuccess


@dataclass
class _Stream:
    waiting: list[Work] = field(default_factory=list)
    done: int = 0
    given: int = 0
    capturing: list[Work] | None = None


class FakeCuda:
    """A fake GPU and its CUDA runtime.

    Attributes:
        name, major, minor: name and compute capability of the GPU.
        memory: bytes of device memory.
        lost: whether every call fails, as after a hardware error.
        live: kinds of the handles that are not destroyed yet.
        launched: graphs that were launched.
        eager: streams that run their work when an event is recorded, not when it is waited for.
    """

    cudaError_t = Status
    cudaMemcpyKind = cudaMemcpyKind
    cudaStreamCaptureMode = cudaStreamCaptureMode

    def __init__(self, memory: int = GIBIBYTE) -> None:
        self.name, self.major, self.minor = "Fake GPU", 8, 9
        self.devices = 1
        self.memory = memory
        self.lost = False
        self.live: dict[int, str] = {}
        self.launched: list[Any] = []
        self.eager: set[int] = set()
        self.streams: dict[int, _Stream] = {}
        self._buffers: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._events: dict[int, tuple[int, int]] = {}
        self._next = 1
        self._running = threading.RLock()

    def cudaGetErrorString(self, error: Status) -> tuple[Status, bytes]:
        return OK, Status(error).name.encode()

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (OK, self.devices) if self.devices else (Status.cudaErrorNoDevice, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        assert device == 0
        return OK, SimpleNamespace(name=self.name.encode() + b"\0\0", major=self.major, minor=self.minor)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if self.lost:
            return Status.cudaErrorLaunchFailure, None
        if sum(self._sizes.values()) + size > self.memory:
            return Status.cudaErrorMemoryAllocation, None
        address = self._allocate(size, "device memory")
        self._sizes[address] = size
        return OK, address

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        return OK, self._allocate(size, "pinned memory")

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        self._sizes.pop(address)
        return self._free(address, "device memory")

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free(address, "pinned memory")

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: int) -> tuple[Any, ...]:  # noqa: ANN401
        to_device = kind is cudaMemcpyKind.cudaMemcpyHostToDevice
        kinds = ("device memory", "pinned memory") if to_device else ("pinned memory", "device memory")
        for address, what in zip((target, source), kinds, strict=True):
            assert self.live[address] == what
            assert size <= len(self._buffers[address])
        return self.enqueue(stream, lambda: ctypes.memmove(target, source, size))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == 1
        stream = self._make("stream")
        self.streams[stream] = _Stream()
        return OK, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        del self.streams[stream]
        return self._destroy(stream, "stream")

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        if self.lost:
            return (Status.cudaErrorLaunchFailure,)
        self._run_until(stream, self.streams[stream].given)
        return (OK,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == 2
        return OK, self._make("event")

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        assert self.live[event] == "event"
        self._events[event] = stream, self.streams[stream].given
        if stream in self.eager:
            self._run_until(stream, self.streams[stream].given)
        return (OK,)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        other, place = self._events[event]
        return self.enqueue(stream, lambda: self._run_until(other, place))

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:
        return self._destroy(event, "event")

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:  # noqa: ANN401
        assert mode is cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.streams[stream].capturing = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        captured, self.streams[stream].capturing = self.streams[stream].capturing, None
        if not captured:
            return Status.cudaErrorStreamCaptureInvalidated, None
        graph = _Graph(tuple(captured))
        self.live[id(graph)] = "graph"
        return OK, graph

    def cudaGraphInstantiate(self, graph: "_Graph", flags: int) -> tuple[Any, ...]:
        assert flags == 0
        executable = _Graph(graph.work)
        self.live[id(executable)] = "executable graph"
        return OK, executable

    def cudaGraphDestroy(self, graph: "_Graph") -> tuple[Any, ...]:
        return self._destroy(id(graph), "graph")

    def cudaGraphExecDestroy(self, graph: "_Graph") -> tuple[Any, ...]:
        return self._destroy(id(graph), "executable graph")

    def cudaGraphLaunch(self, graph: "_Graph", stream: int) -> tuple[Any, ...]:
        assert self.live[id(graph)] == "executable graph"
        self.launched.append(graph)
        for work in graph.work:
            self.enqueue(stream, work)
        return (OK,)

    def enqueue(self, stream: int, work: Work) -> tuple[Status]:
        """Add work to a stream, or to the graph that is being captured from it."""
        if self.lost:
            return (Status.cudaErrorLaunchFailure,)
        found = self.streams[stream]
        if found.capturing is not None:
            found.capturing.append(work)
        else:
            with self._running:
                found.waiting.append(work)
                found.given += 1
        return (OK,)

    def is_capturing(self, stream: int) -> bool:
        return self.streams[stream].capturing is not None

    def _run_until(self, stream: int, place: int) -> None:
        found = self.streams[stream]
        with self._running:
            while found.done < place:
                found.waiting.pop(0)()
                found.done += 1

    def _allocate(self, size: int, what: str) -> int:
        buffer = (ctypes.c_uint8 * size)(*b"\xa5" * min(size, 64))  # not zeros: unwritten memory gives wrong results
        address = ctypes.addressof(buffer)
        self._buffers[address] = buffer
        self.live[address] = what
        return address

    def _free(self, address: int, what: str) -> tuple[Any, ...]:
        del self._buffers[address]
        return self._destroy(address, what)

    def _make(self, what: str) -> int:
        self._next += 1
        self.live[self._next] = what
        return self._next

    def _destroy(self, handle: int, what: str) -> tuple[Any, ...]:
        assert self.live.pop(handle) == what
        return (OK,)


@dataclass(frozen=True, eq=False)
class _Graph:
    work: tuple[Work, ...]
