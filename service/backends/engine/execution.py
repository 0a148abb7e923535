"""Execution of an engine on the GPU.

There are two slots, each with pinned buffers on the host, buffers on the GPU, and a stream for its copies: while one
batch is computed, the next one is copied. All computation is on one stream.

A CUDA graph replays kernels with the addresses and the shape of its capture, which follows a warm-up run of that shape.
It is valid only while the execution context of the capture does not change (TensorRT's developer guide, "CUDA Graphs").
Therefore each graph has its own context, and all contexts share one block of GPU memory, which is safe because they run
one at a time. Batches without a graph run in a context with a shape set for each run.

Shapes: B images of a run, C classes.
"""

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact import Manifest
from engines import Cuda, EngineError, Library
from engines.callbacks import Log
from imaging.preprocess import Tensor

_SLOTS = 2


class Execution:
    """Executor of batches of up to `largest` images, for two concurrent threads.

    Args:
        library: library of the engine.
        cuda: the CUDA runtime.
        engine: TensorRT's engine, with one input and one output.
        manifest: manifest of the artifact.
        largest: largest batch.
        log: log of the engine's runtime.

    Raises:
        CudaError: the GPU has not enough memory, or failed.
    """

    def __init__(self, library: Library, cuda: Cuda, engine: Any, manifest: Manifest, largest: int, log: Log) -> None:  # noqa: ANN401
        self.largest = largest
        self._cuda, self._log = cuda, log
        self._engine = engine
        self._names = manifest.input.name, manifest.output.name
        self._strategy = library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        self._computing = threading.Lock()
        with ExitStack() as stack:
            self._stream = cuda.stream()
            stack.callback(cuda.destroy_stream, self._stream)
            self._memory_size = max(int(engine.device_memory_size_v2), 1)
            self._memory = cuda.allocate(self._memory_size)
            stack.callback(cuda.free, self._memory)
            self._slots = [_Slot(cuda, manifest, largest, stack) for _ in range(_SLOTS)]
            self._plain = self._context()
            self._graphs: dict[tuple[int, int], tuple[Any, Any]] = {}
            stack.callback(self._destroy_graphs)
            self._stack = stack.pop_all()
        self._free = list(range(_SLOTS))
        self._available = threading.Condition()

    @property
    def captured(self) -> Sequence[int]:
        """Batch sizes with a CUDA graph."""
        return sorted({size for _, size in self._graphs})

    def capture(self, size: int) -> None:
        """Warm up a batch size, and capture a CUDA graph of it for each slot. Called before the first run.

        Raises:
            CudaError: the GPU failed, or the engine cannot be captured.
            EngineError: TensorRT cannot run the engine.
        """
        for index, slot in enumerate(self._slots):
            context = self._context()
            self._bind(context, slot, size)
            self._enqueue(context)
            self._cuda.synchronise(self._stream)
            self._cuda.begin_capture(self._stream)
            try:
                self._enqueue(context)
            except EngineError:
                self._cuda.abandon_capture(self._stream)
                raise
            self._graphs[index, size] = context, self._cuda.end_capture(self._stream)

    def run(self, images: Tensor) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Raises:
            CudaError: the GPU failed.
            EngineError: TensorRT cannot run the engine.
        """
        size = len(images)
        with self._slot() as index:
            slot = self._slots[index]
            slot.load(images)
            with self._computing:
                self._cuda.wait(self._stream, slot.loaded)
                if (index, size) in self._graphs:
                    self._cuda.launch(self._graphs[index, size][1], self._stream)
                else:
                    self._bind(self._plain, slot, size)
                    self._enqueue(self._plain)
                self._cuda.record(slot.computed, self._stream)
            return slot.fetch(size)

    def close(self) -> None:
        """Free all resources after the current runs."""
        with self._available:
            self._available.wait_for(lambda: len(self._free) == _SLOTS)
            self._free.clear()
            self._stack.close()

    def _context(self) -> Any:  # noqa: ANN401 -- it ships no types
        context = self._engine.create_execution_context(self._strategy)
        if context is None:
            raise EngineError(f"TensorRT cannot create an execution context: {self._log.reason()}")
        context.set_device_memory(self._memory, self._memory_size)
        return context

    def _bind(self, context: Any, slot: "_Slot", size: int) -> None:  # noqa: ANN401 -- it ships no types
        image, logits = self._names
        bound = (
            context.set_input_shape(image, (size, *slot.image)),
            context.set_tensor_address(image, slot.input),
            context.set_tensor_address(logits, slot.output),
        )
        if not all(bound):
            raise EngineError(f"TensorRT does not accept a batch of {size}: {self._log.reason()}")

    def _enqueue(self, context: Any) -> None:  # noqa: ANN401 -- it ships no types
        if not context.execute_async_v3(self._stream):
            raise EngineError(f"TensorRT cannot run the engine: {self._log.reason()}")

    @contextmanager
    def _slot(self) -> Iterator[int]:
        with self._available:
            self._available.wait_for(lambda: self._free)
            index = self._free.pop()
        try:
            yield index
        finally:
            with self._available:
                self._free.append(index)
                self._available.notify_all()

    def _destroy_graphs(self) -> None:
        for _, graph in self._graphs.values():
            self._cuda.destroy_graph(graph)
        self._graphs.clear()


class _Slot:
    """Buffers of one batch, on the host and on the GPU."""

    def __init__(self, cuda: Cuda, manifest: Manifest, largest: int, stack: ExitStack) -> None:
        tensor = manifest.input
        self.image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
        self._cuda = cuda
        self._classes = manifest.output.classes
        dtype = np.dtype(tensor.dtype)
        sizes = largest * prod(self.image) * dtype.itemsize, largest * self._classes * 4
        self.input, self.output = (self._hold(cuda.allocate(size), cuda.free, stack) for size in sizes)
        self._given, self._found = (self._hold(cuda.allocate_pinned(size), cuda.free_pinned, stack) for size in sizes)
        self._images = _array(self._given, sizes[0]).view(dtype).reshape(largest, *self.image)
        self._logits = _array(self._found, sizes[1]).view(np.float32).reshape(largest, self._classes)
        self._stream = self._hold(cuda.stream(), cuda.destroy_stream, stack)
        self.loaded, self.computed = (self._hold(cuda.event(), cuda.destroy_event, stack) for _ in range(2))

    def load(self, images: Tensor) -> None:
        """Start copying images to the GPU; the event `loaded` marks the end."""
        if (images.dtype, images.shape[1:]) != (self._images.dtype, self.image):
            raise EngineError(
                f"images are {images.dtype} of shape {images.shape}, the engine takes {self._images.dtype} of shape "
                f"[B, {', '.join(map(str, self.image))}]"
            )
        self._images[: len(images)] = images
        self._cuda.copy_to_device(self.input, self._given, images.nbytes, self._stream)
        self._cuda.record(self.loaded, self._stream)

    def fetch(self, size: int) -> NDArray[np.float32]:
        """Return the logits of `size` images after the event `computed`."""
        self._cuda.wait(self._stream, self.computed)
        self._cuda.copy_to_host(self._found, self.output, size * self._classes * 4, self._stream)
        self._cuda.synchronise(self._stream)
        return self._logits[:size].copy()

    def _hold(self, handle: int, release: Any, stack: ExitStack) -> int:  # noqa: ANN401
        stack.callback(release, handle)
        return handle


def _array(address: int, size: int) -> NDArray[np.uint8]:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
