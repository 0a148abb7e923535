"""ONNX Runtime with the CPU, CUDA and TensorRT execution providers.

ONNX Runtime replaces a failing provider by another one with only a warning. Here the fallback is disabled, and the
session's providers are compared with the requested ones.

Threads: spinning of ONNX Runtime's global thread pool cannot be disabled from Python (measured: 7.2 ms of CPU time per
image instead of 3.2 ms). Therefore every session has its own pool that sleeps when idle. The number of threads belongs
to a session, not to a run: on the CPU there are two sessions, one with all threads for idle cores, and one with the
calling thread only. Measured with Swin-T on 2 cores: two concurrent runs have 1.07 times the throughput on the latter
(benchmarks/runs.py); the weights are in memory twice.

On CUDA, batches run in fixed buffers, as CUDA graphs if the graph can be captured: see fixed_batches.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifact import Artifact
from artifact.manifest import MANIFEST_NAME
from engines.saturation import EXACT_INT8_IN_ONNX_RUNTIME
from imaging.preprocess import Tensor
from service.backends.base import Operators
from service.backends.contract import check_tensors, files_beside, reason, utf8_path
from service.backends.cuda_host import driver_problem, open_cudart
from service.backends.device_thread import DeviceThread
from service.backends.fixed_batches import FixedBatches, Memory, run_options
from service.backends.onnx_runtime_errors import BAD_FILE, FAILED, cpu_failure, device_failure, refuses_capture
from service.problems.errors import BackendUnavailableError, GraphError
from service.resources.threads import check_threads

logger = logging.getLogger(__name__)

T = TypeVar("T")

Options = Mapping[str, str]

_CUDA: Options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
"""TF32 would round float32 to 10 bits. An exhaustive search of convolutions would be repeated for each batch size."""


@dataclass(frozen=True)
class Device:
    """Value of `--device`.

    Attributes:
        providers: ONNX Runtime's providers, with options; later ones run the nodes that the first does not support.
        memory: memory of the fixed buffers; None runs batches without buffers.
        graphs: whether its first provider captures CUDA graphs.
        precisions: running precision by the artifact's precision, if they differ.
    """

    providers: Mapping[str, Options]
    memory: str | None = None
    graphs: bool = False
    precisions: Mapping[str, str] = field(default_factory=dict)

    @property
    def on_cores(self) -> bool:
        """See Backend.on_cores."""
        return self.memory is None and list(self.providers) == ["CPUExecutionProvider"]


DEVICES = {
    # The CPU has no fp16 kernels; fp16 is cast to fp32.
    "cpu": Device({"CPUExecutionProvider": {}}, precisions={"fp16": "fp32", "int8": "int8+fp32"}),
    "cuda": Device({"CUDAExecutionProvider": _CUDA}, "cuda", graphs=True, precisions={"int8": "int8+fp32"}),
    # TensorRT uses TF32 for float32; unsupported nodes run on CUDA, none on the CPU.
    "tensorrt": Device(
        {"TensorrtExecutionProvider": {}, "CUDAExecutionProvider": _CUDA},
        precisions={"fp32": "tf32", "int8": "int8+tf32"},
    ),
}

_FATAL = 4
"""Log severity of ONNX Runtime on the CPU: its messages quote names of the graph unescaped, which could forge log
lines. Errors are raised as well. On other devices its warnings are needed."""

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxRuntimeBackend:
    """ONNX Runtime's sessions for one artifact: one on a device, two on the CPU."""

    operators: Operators | None = None
    overlaps = False
    batched = True

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        if device == "cpu" and cpu_precision != "fp32":
            raise BackendUnavailableError(
                f"ONNX Runtime has no {cpu_precision} on the CPU; choose --cpu-precision fp32, or --backend openvino"
            )
        self._artifact, self._threads = artifact, threads
        self._device_name, self._device = device, DEVICES[device]
        written = artifact.manifest.precision
        self.precision = self._device.precisions.get(written, written)
        self._input = artifact.manifest.input.name
        self._output = artifact.manifest.output.name
        self.on_cores = self._device.on_cores
        self._options = run_options(-1 if self._device.graphs else None)
        if self.on_cores:
            self._options.log_severity_level = _FATAL
        self._fixed: FixedBatches | None = None
        self._thread = None if self._device.memory is None else DeviceThread()
        self._graphs = self._device.graphs
        try:
            self._alone = self._open(1 if self.on_cores else threads)
            self._spread = self._open(threads) if self.on_cores and threads > 1 else self._alone
            _check_tensors(self._alone, artifact)
        except BaseException:
            if self._thread is not None:
                self._thread.close(lambda: None)
            raise

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return `cuda` for `auto` if this ONNX Runtime was built with it, else `cpu`."""
        if device != "auto" and device not in DEVICES:
            raise BackendUnavailableError(f"device {device!r} is unknown; known: auto, {', '.join(DEVICES)}")
        available = onnxruntime.get_available_providers()
        if device == "auto":
            return "cuda" if "CUDAExecutionProvider" in available else "cpu"
        missing = [provider for provider in DEVICES[device].providers if provider not in available]
        if missing:
            raise BackendUnavailableError(
                f"device {device} is not available: this ONNX Runtime has no {' and no '.join(missing)} "
                f"(it has {', '.join(available)}); install posbake's extra gpu instead of service, "
                "or choose --device cpu"
            )
        return device

    @property
    def name(self) -> str:
        """`onnxruntime-` and the device."""
        return f"onnxruntime-{self._device_name}"

    def prepare(self, largest: int) -> None:
        """Allocate a device's buffers, capture CUDA graphs, and measure which batches to pad."""
        memory = self._device.memory
        if memory is None:
            return
        cudart = open_cudart(onnxruntime.cuda_version.partition(".")[0]) if memory == "cuda" else None
        try:
            while self._fixed is None:
                try:
                    self._fixed = FixedBatches(
                        self._alone,
                        self._artifact.manifest,
                        largest,
                        Memory(memory, self._graphs, cudart),
                        self._run_plain,
                        self._on_device,
                    )
                except FAILED as error:
                    if not (self._graphs and refuses_capture(error)):
                        raise
                    self._without_graphs(error)
                    self._alone = self._spread = self._on_device(partial(self._open_session, self._threads))
        except (*BAD_FILE, *FAILED) as error:
            raise self._failure(error) from error
        sizes = [f"{size} for {batches.start} to {size}" for size, batches in self._fixed.padded.items() if batches]
        logger.info(
            "%s: %s of %s images; other batches run without",
            self._artifact.manifest.key,
            "CUDA graphs" if self._graphs else "fixed buffers",
            ", ".join(sizes) or "no number",
        )

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C].

        Raises:
            GraphError: ONNX Runtime cannot compute them.
            BackendUnavailableError: the GPU failed.
        """
        fixed = self._fixed
        try:
            if fixed is not None:
                return fixed.run(images)
            return self._on_device(partial(self._run_plain, images, spread=spread))
        except (*BAD_FILE, *FAILED) as error:
            raise self._failure(error) from error

    def interrupt(self) -> None:
        """Stop runs before their next node, also inside loops; a node itself is not interrupted."""
        self._options.terminate = True
        if (fixed := self._fixed) is not None:
            fixed.interrupt()

    def close(self) -> None:
        """Release sessions and buffers; current runs keep theirs until they end."""
        if self._thread is None:
            self._release()
        else:
            self._thread.close(self._release)

    def _release(self) -> None:
        self._fixed = None
        del self._alone, self._spread

    def _on_device(self, work: Callable[[], T], /, *, captures: bool = False) -> T:
        """Run `work` on the device's thread, if there is one, and return its result."""
        return work() if self._thread is None else self._thread.call(work, captures=captures)

    def _run_plain(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        session = self._spread if spread else self._alone
        logits: NDArray[np.float32] = session.run([self._output], {self._input: images}, self._options)[0]
        return logits

    def _failure(self, error: Exception) -> GraphError | BackendUnavailableError:
        """Return the error of a failed run: of the GPU or of the graph."""
        found = None if self.on_cores else device_failure(error)
        if found is None:
            return GraphError(
                f"ONNX Runtime failed while running the graph: {reason(error)}; export the artifact again"
            )
        return BackendUnavailableError(
            f"device {self._device_name} failed: {found}; look for Xid in the kernel's log, free memory of the "
            "GPU, and restart the server if it does not recover"
        )

    def _open(self, threads: int) -> onnxruntime.InferenceSession:
        """Open a session, without CUDA graphs if ONNX Runtime refuses to capture the graph."""
        open_ = partial(self._open_session, threads)
        try:
            return self._on_device(open_)
        except BackendUnavailableError as error:
            if not (self._graphs and refuses_capture(error)):
                raise
            self._without_graphs(error)
            return self._on_device(open_)

    def _without_graphs(self, error: Exception) -> None:
        self._graphs = False
        why = reason(str(error.__cause__ or error))
        logger.warning("%s runs without CUDA graphs, which is slower: %s", self._artifact.manifest.key, why)

    def _open_session(self, threads: int) -> onnxruntime.InferenceSession:
        artifact, providers = self._artifact, self._device.providers
        check_threads(threads - 1)  # if only some of its threads can start, ONNX Runtime waits forever
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle sessions do not use CPU time
        options.add_session_config_entry(*EXACT_INT8_IN_ONNX_RUNTIME)
        if self.on_cores:
            options.log_severity_level = _FATAL
        elif "CPUExecutionProvider" not in providers:
            onnxruntime.preload_dlls()  # finds CUDA libraries installed by pip
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        beside = _files_beside(artifact)
        contents = [*beside.values()]
        options.add_external_initializers_from_files_in_memory([*beside], contents, [*map(len, contents)])
        graphs = {"enable_cuda_graph": "1"} if self._graphs else {}
        try:
            session = onnxruntime.InferenceSession(
                utf8_path(artifact.graph),
                sess_options=options,
                providers=[(name, {**given, **graphs}) for name, given in providers.items()],
                enable_fallback=0,
            )
        except BAD_FILE as error:
            raise GraphError(
                f"ONNX Runtime cannot read the graph: {reason(error)}; export the artifact again"
            ) from error
        except FAILED as error:
            if self.on_cores:
                raise GraphError(f"ONNX Runtime cannot run the graph: {cpu_failure(error)}") from error
            raise self._did_not_come_up(device_failure(error) or reason(error)) from error
        found = [provider for provider in session.get_providers() if provider in providers]
        if found != list(providers):
            raise self._did_not_come_up(
                f"ONNX Runtime uses {session.get_providers()}, expected {list(providers)}; see its warnings above"
            )
        return session

    def _did_not_come_up(self, why: str) -> BackendUnavailableError:
        """Return the error, with the driver's reason first, because ONNX Runtime writes that into its log only."""
        why = "; ".join(filter(None, (driver_problem(), why.replace(f"{self._artifact.path}/", ""))))
        return BackendUnavailableError(
            f"device {self._device_name} failed to come up: {why}; choose --device cpu to run without it"
        )


def _files_beside(artifact: Artifact) -> dict[str, bytes]:
    return {MANIFEST_NAME: b"", **files_beside(artifact)}  # if empty, the directory is searched


def _check_tensors(session: onnxruntime.InferenceSession, artifact: Artifact) -> None:
    inputs, outputs = (
        [(node.name, _DTYPES.get(node.type, node.type), node.shape) for node in nodes]
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    check_tensors(artifact.manifest, inputs, outputs)
