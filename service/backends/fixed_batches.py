"""Execution of an ONNX Runtime session on a device with fixed batch sizes and fixed buffers.

A CUDA graph replays kernels with the addresses and shapes of its capture. Therefore there are buffers for 1, 2, 4, 8, …
images and for the largest batch, and one CUDA graph for each of them. Any other batch is either padded to the next of
these sizes, or runs without buffers: the faster way is measured before the first request.

Shapes: B images of a run, S of a buffer, C classes.
"""

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifact import Manifest
from imaging.preprocess import Tensor
from service.backends.cuda_host import Library, PinnedBuffer

T = TypeVar("T")

Work = Callable[[], object]
Run = Callable[[Tensor], NDArray[np.float32]]

_WARMING_UP = 2
"""Number of untimed runs: they allocate, tune, and capture a CUDA graph."""


def fastest_of_three(work: Work) -> float:
    """Return the time of the fastest of three runs in s, after two untimed runs."""
    for _ in range(_WARMING_UP):
        work()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def fixed_sizes(largest: int) -> list[int]:
    """Return 1, 2, 4, 8, … below the largest batch, and the largest batch."""
    return [*(1 << power for power in range((largest - 1).bit_length())), largest]


class OnDevice(Protocol):
    """Function that calls others on the device's thread; see DeviceThread.call."""

    def __call__(self, work: Callable[[], T], /, *, captures: bool = False) -> T:
        """Return the result of `work`."""


@dataclass(frozen=True)
class Memory:
    """Memory of a session's buffers.

    Attributes:
        device: ONNX Runtime's name: `cuda` or `cpu`.
        graphs: whether the session captures CUDA graphs.
        cudart: CUDA runtime that locks the pages of the host's buffer; see PinnedBuffer.
    """

    device: str
    graphs: bool = False
    cudart: Library | None = None


class FixedBatches:
    """Executor of batches of any size, one at a time.

    Args:
        session: session of the graph.
        manifest: manifest of the artifact.
        largest: largest batch with a buffer; larger ones run without.
        memory: memory of the buffers.
        plain: runs a batch without buffers, on the device's thread: ONNX Runtime allocates and copies. Never captures.
        on_device: see OnDevice.
        measure: returns the time of a run in s.

    Raises:
        Exception: ONNX Runtime's exception if a buffer cannot be allocated, or the graph cannot be run or captured.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        manifest: Manifest,
        largest: int,
        memory: Memory,
        plain: Run,
        on_device: OnDevice,
        measure: Callable[[Work], float] = fastest_of_three,
    ) -> None:
        tensor = manifest.input
        image = (tensor.height, tensor.width, 3) if tensor.layout == "NHWC" else (3, tensor.height, tensor.width)
        self._plain, self._on_device = plain, on_device
        self._staging = on_device(lambda: PinnedBuffer((largest, *image), tensor.dtype, memory.cudart))
        self._sizes = fixed_sizes(largest)
        buffers = [self._staging.array[:size] for size in self._sizes]
        self._fixed = on_device(lambda: [_Fixed(session, manifest, staging, memory) for staging in buffers])
        self._first = self._measure(measure)

    @property
    def padded(self) -> dict[int, range]:
        """Batches that run in the buffer of each size; others run without buffers."""
        return {size: range(first, size + 1) for size, first in zip(self._sizes, self._first, strict=True)}

    def run(self, images: Tensor) -> NDArray[np.float32]:
        """Return logits, float32 [B, C], as a copy.

        Raises:
            Exception: any exception of ONNX Runtime.
        """
        count, staging = len(images), self._staging.array
        fits = (images.dtype, images.shape[1:]) == (staging.dtype, staging.shape[1:]) and 1 <= count <= len(staging)
        place = bisect_left(self._sizes, count)
        if not fits or count < self._first[place]:
            return self._on_device(partial(self._plain, images))
        return self._on_device(partial(self._fixed[place].run, images))

    def interrupt(self) -> None:
        """Stop runs before their next node; a replayed CUDA graph is not interrupted."""
        for fixed in self._fixed:
            fixed.options.terminate = True

    def _measure(self, measure: Callable[[Work], float]) -> list[int]:
        """Return, for each size, the smallest batch that runs in its buffer; the size + 1 if none does.

        The time of a run grows with its batch, so bisection finds the smallest batch.
        """
        blank = np.zeros_like(self._staging.array)
        found = []
        for below, size, fixed in zip([0, *self._sizes], self._sizes, self._fixed, strict=False):
            padded = self._on_device(partial(measure, partial(fixed.run, blank[:size])), captures=True)

            def is_slower(count: int, padded: float = padded) -> bool:
                return self._on_device(partial(measure, partial(self._plain, blank[:count]))) >= padded

            batches = range(below + 1, size + 1)
            found.append(batches.start + bisect_left(batches, True, key=is_slower))
        return found


class _Fixed:
    """Buffers of a batch size, bound to the session's input and output."""

    def __init__(
        self, session: onnxruntime.InferenceSession, manifest: Manifest, staging: Tensor, memory: Memory
    ) -> None:
        size = len(staging)
        self.options = run_options(size if memory.graphs else None)
        self._session, self._staging = session, staging
        make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._input = make(list(staging.shape), staging.dtype.type, memory.device, 0)
        self._output = make([size, manifest.output.classes], np.float32, memory.device, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(manifest.input.name, self._input)
        self._binding.bind_ortvalue_output(manifest.output.name, self._output)

    def run(self, images: Tensor) -> NDArray[np.float32]:
        """Return the logits of up to S images; the rest of the buffer is padding."""
        self._staging[: len(images)] = images
        self._input.update_inplace(self._staging)
        self._session.run_with_iobinding(self._binding, self.options)
        logits: NDArray[np.float32] = self._output.numpy()  # on the CPU a view of the buffer
        return logits[: len(images)].copy()


def run_options(graph: int | None) -> onnxruntime.RunOptions:
    """Return run options that capture and replay the CUDA graph of this number, from 1 on; -1 for neither.

    None is for a session without CUDA graphs.
    """
    options = onnxruntime.RunOptions()
    if graph is not None:
        options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
