"""CUDA runtime (`cuda.bindings.runtime` of the package cuda-python): memory, streams and graphs of one GPU.

Addresses are integers. Every call raises CudaError if the runtime returns an error.
"""

import importlib
from functools import cache
from typing import Any

from engines.errors import CudaError, LibraryMissingError, OutOfDeviceMemoryError

_PINNED = 0  # cudaHostAllocDefault
_NON_BLOCKING = 1  # cudaStreamNonBlocking: no synchronisation with the default stream, which other libraries use
_NO_TIMING = 2  # cudaEventDisableTiming


class Cuda:
    """CUDA runtime on the first visible GPU (CUDA_VISIBLE_DEVICES selects another).

    Args:
        runtime: the module `cuda.bindings.runtime`.
    """

    def __init__(self, runtime: Any) -> None:  # noqa: ANN401 -- a module that ships no types
        self._runtime = runtime

    def device(self) -> tuple[str, int, int]:
        """Return the GPU's name, and the major and minor number of its compute capability."""
        if not self._call("cudaGetDeviceCount"):
            raise CudaError("no GPU is visible; check nvidia-smi and CUDA_VISIBLE_DEVICES, or choose --device cpu")
        found = self._call("cudaGetDeviceProperties", 0)
        name = found.name.decode() if isinstance(found.name, bytes) else str(found.name)
        return name.rstrip("\0"), found.major, found.minor

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the GPU and return their address."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Free memory of `allocate`."""
        self._call("cudaFree", address)

    def allocate_pinned(self, size: int) -> int:
        """Allocate `size` bytes of pinned host memory, which the GPU accesses directly, and return their address."""
        return int(self._call("cudaHostAlloc", size, _PINNED))

    def free_pinned(self, address: int) -> None:
        """Free memory of `allocate_pinned`."""
        self._call("cudaFreeHost", address)

    def copy_to_device(self, target: int, source: int, size: int, stream: int) -> None:
        """Start an asynchronous copy of `size` bytes from pinned memory."""
        self._call("cudaMemcpyAsync", target, source, size, self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def copy_to_host(self, target: int, source: int, size: int, stream: int) -> None:
        """Start an asynchronous copy of `size` bytes to pinned memory."""
        self._call("cudaMemcpyAsync", target, source, size, self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def stream(self) -> int:
        """Return a new stream."""
        return int(self._call("cudaStreamCreateWithFlags", _NON_BLOCKING))

    def synchronise(self, stream: int) -> None:
        """Wait until all work of a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream."""
        self._call("cudaStreamDestroy", stream)

    def event(self) -> int:
        """Return a new event."""
        return int(self._call("cudaEventCreateWithFlags", _NO_TIMING))

    def record(self, event: int, stream: int) -> None:
        """Record an event, which completes when the preceding work of a stream is done."""
        self._call("cudaEventRecord", event, stream)

    def wait(self, stream: int, event: int) -> None:
        """Make a stream wait for an event."""
        self._call("cudaStreamWaitEvent", stream, event, 0)

    def destroy_event(self, event: int) -> None:
        """Destroy an event."""
        self._call("cudaEventDestroy", event)

    def begin_capture(self, stream: int) -> None:
        """Start capturing this thread's work on a stream, instead of running it."""
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> Any:  # noqa: ANN401 -- an object of a library that ships no types
        """End a capture and return its executable graph."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def abandon_capture(self, stream: int) -> None:
        """End a capture and discard it. Errors are ignored, because the runtime repeats the error of the capture."""
        error, graph = self._runtime.cudaStreamEndCapture(stream)
        if int(error) == 0:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:  # noqa: ANN401 -- see end_capture
        """Launch a graph on a stream."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:  # noqa: ANN401 -- see end_capture
        """Destroy an executable graph."""
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 -- passed on
        error, *results = getattr(self._runtime, name)(*arguments)
        if int(error) != 0:
            text = self._runtime.cudaGetErrorString(error)[1]
            text = text.decode() if isinstance(text, bytes) else str(text)
            if error == self._runtime.cudaError_t.cudaErrorMemoryAllocation:
                raise OutOfDeviceMemoryError(f"{name}: {text}; lower --max-batch, or serve fewer versions on this GPU")
            raise CudaError(f"{name}: {text}")
        return results[0] if results else None


@cache
def load_cuda() -> Cuda:
    """Return the CUDA runtime.

    Raises:
        LibraryMissingError: cuda-python is not installed.
    """
    try:
        return Cuda(importlib.import_module("cuda.bindings.runtime"))
    except ImportError as error:
        raise LibraryMissingError(
            f"the CUDA runtime is not available: {error}; install it with pip install cuda-bindings"
        ) from error
