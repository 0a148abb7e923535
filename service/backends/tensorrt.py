"""TensorRT and TensorRT-RTX: native engines, run by `execute_async_v3` with the CUDA runtime of cuda-python.

An artifact with an engine runs that engine, if it is for this library and this GPU. For any other artifact the engine
is built at load, and stored in ENGINE_CACHE. Never run on a GPU: tests use a runtime that computes on the CPU
(tests/service/backends/fake_cuda.py), and build real engines.
"""

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact
from engines import (
    CudaError,
    EngineError,
    Library,
    LibraryMissingError,
    current_gpu,
    find_library,
    load_cuda,
    read_engine,
)
from engines.callbacks import Log
from engines.inspecting import operators_of, read_layers
from imaging.preprocess import Tensor
from service.backends.base import Operators
from service.backends.contract import Declared, check_tensors, reason
from service.backends.engine.execution import Execution
from service.backends.engine.opening import open_engine
from service.problems.errors import BackendUnavailableError, GraphError

logger = logging.getLogger(__name__)

_DTYPES = {"FLOAT": "float32", "UINT8": "uint8"}
_PRECISIONS = {"int8": "int8+fp32"}
"""Running precision by the artifact's precision, if they differ; TF32 is disabled."""


class TensorRtBackend:
    """Engine of one artifact, on the first visible GPU."""

    on_cores = False
    overlaps = True
    batched = True

    def __init__(
        self,
        artifact: Artifact,
        device: str,
        threads: int,  # noqa: ARG002 -- of other backends
        cpu_precision: str = "fp32",  # noqa: ARG002 -- of other backends
        *,
        engine_cache: Path,
    ) -> None:
        self._manifest = artifact.manifest
        written = artifact.manifest.precision
        self.precision = _PRECISIONS.get(written, written)
        self._log = Log()
        self._interrupted = False
        self._lock = threading.Lock()
        self._execution: Execution | None = None
        try:
            self._cuda = load_cuda()
            opened = open_engine(artifact, engine_cache)
            self._library, self._profile = opened.library, opened.engine.profile
            compatible = opened.engine.settings.version_compatible
            self._engine = read_engine(opened.library, opened.plan, self._log, version_compatible=compatible)
        except (CudaError, LibraryMissingError) as error:
            raise BackendUnavailableError(f"device {device} failed to come up: {reason(error)}") from error
        except EngineError as error:
            raise GraphError(reason(error)) from error
        self._name = f"{self._library.name.lower()}-{device}"
        _check_tensors(self._library, self._engine, artifact)
        inspector = self._engine.create_engine_inspector()
        text = inspector.get_engine_information(self._library.module.LayerInformationFormat.ONELINE)
        self.operators: Operators | None = operators_of(read_layers(text)) or None

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return `cuda`. Raises BackendUnavailableError if TensorRT, the CUDA runtime or a GPU is missing."""
        if device not in {"auto", "cuda"}:
            raise BackendUnavailableError(f"device {device!r} is not TensorRT's; known: auto, cuda")
        try:
            find_library()
            current_gpu(load_cuda())
        except EngineError as error:
            raise BackendUnavailableError(f"backend tensorrt is not available: {error}") from error
        return "cuda"

    @property
    def name(self) -> str:
        """`tensorrt-cuda` or `tensorrt-rtx-cuda`."""
        return self._name

    def prepare(self, largest: int) -> None:
        """Allocate buffers, and capture a CUDA graph for batches of 1, 2, 4, … images and of the largest.

        Raises:
            GraphError: the engine does not accept this batch, or cannot be run.
            BackendUnavailableError: the GPU failed, or is out of memory.
        """
        profile = self._profile
        if largest > profile.max:
            raise GraphError(
                f"its engine accepts batches of up to {profile.max}, {largest} were requested; lower --max-batch, or "
                "build it with another --batch"
            )
        self._close()
        try:
            execution = Execution(self._library, self._cuda, self._engine, self._manifest, largest, self._log)
            self._execution = execution
            for size in _sizes(profile.min, largest):
                execution.capture(size)
        except EngineError as error:
            self._close()
            raise self._failure(error) from error
        logger.info("%s: CUDA graphs for batches of %s", self._manifest.key, ", ".join(map(str, execution.captured)))

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:  # noqa: ARG002 -- of other backends
        """Return logits, float32 [B, C].

        Raises:
            GraphError: TensorRT cannot compute them.
            BackendUnavailableError: the GPU failed.
        """
        if self._interrupted:
            raise GraphError("the run was interrupted")
        profile = self._profile
        if not profile.min <= len(images) <= profile.max:
            raise GraphError(f"its engine accepts batches of {profile.min} to {profile.max}, this has {len(images)}")
        with self._lock:  # waits for the first run
            if self._execution is None or self._execution.largest < len(images):
                self.prepare(profile.max)
            execution = self._execution
        assert execution is not None, "it was prepared"
        try:
            return execution.run(images)
        except EngineError as error:
            raise self._failure(error) from error

    def interrupt(self) -> None:
        """Prevent further runs; current work of the GPU is not interrupted."""
        self._interrupted = True

    def close(self) -> None:
        """Free the GPU's memory after the current runs."""
        self._interrupted = True
        self._close()

    def _close(self) -> None:
        execution, self._execution = self._execution, None
        if execution is not None:
            execution.close()

    def _failure(self, error: EngineError) -> BackendUnavailableError | GraphError:
        if isinstance(error, CudaError):
            return BackendUnavailableError(f"the GPU failed: {reason(error)}")
        return GraphError(reason(error))


def _sizes(smallest: int, largest: int) -> list[int]:
    """Return the batch sizes with a CUDA graph, smallest first."""
    powers = [1 << power for power in range((largest - 1).bit_length())]
    return sorted({size for size in (*powers, largest) if size >= smallest})


def _check_tensors(library: Library, engine: Any, artifact: Artifact) -> None:  # noqa: ANN401 -- it ships no types
    modes = library.module.TensorIOMode
    found: dict[object, list[Declared]] = {modes.INPUT: [], modes.OUTPUT: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name).name
        shape = [None if side == -1 else side for side in engine.get_tensor_shape(name)]
        found[engine.get_tensor_mode(name)].append((name, _DTYPES.get(dtype, dtype), shape))
    check_tensors(artifact.manifest, found[modes.INPUT], found[modes.OUTPUT])
