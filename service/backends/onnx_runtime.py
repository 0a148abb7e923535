"""ONNX Runtime: its CPU, CUDA and TensorRT execution providers.

ONNX Runtime replaces a provider that fails by another one and only warns. Here the fall-back is off, and the session's
providers are compared with those asked for.

Threads: ONNX Runtime's global pool, one for all sessions, cannot be told from Python not to spin (measured: 7.2 ms of
CPU time an image instead of 3.2). So every session has a pool of its own that sleeps when idle. How many threads a run
takes is a session's, not a run's: on the CPU there are two sessions, one of all threads for when cores are idle, and
one of the calling thread alone. Measured with Swin-T on 2 cores: two runs at a time answer 1.07 times as much on the
latter as on the former (benchmarks/runs.py); the weights are in memory twice.
"""

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from artifact import Artifact
from artifact.manifest import MANIFEST_NAME
from imaging.preprocess import Tensor
from service.backends.base import Operators
from service.backends.contract import check_tensors, files_beside, reason
from service.problems.errors import BackendUnavailableError, GraphError

# By device. TensorRT leaves the nodes it does not take to CUDA; neither leaves any to the CPU.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}

# ONNX Runtime's exceptions have no common base. The first three blame the file whatever the device.
_BAD_FILE = (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.InvalidArgument)
_FAILED = (
    *(ort_errors.Fail, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail),
    *(ort_errors.EngineError, ort_errors.NoSuchFile, ort_errors.NoModel, RuntimeError, ValueError),
)

_FATAL = 4
"""Least severity of what ONNX Runtime itself writes to stderr, on the CPU: it quotes names of the graph as they are,
which could forge lines of the log. Its errors are raised as well. On other devices its warnings are needed."""

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}

_ON_CPU = {"fp16": "fp32", "int8": "int8+fp32"}
"""Running precision on the CPU, by the artifact's precision: fp16 has no kernels there, and is cast to fp32."""


class OnnxRuntimeBackend:
    """ONNX Runtime's sessions of one artifact: one on a device, two on the CPU."""

    operators: Operators | None = None
    overlaps = False
    batched = True

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        if device == "cpu" and cpu_precision != "fp32":
            raise BackendUnavailableError(
                f"ONNX Runtime has no {cpu_precision} on the CPU; choose --cpu-precision fp32, or --backend openvino"
            )
        self._name = f"onnxruntime-{device}"
        self.precision = _precision(artifact.manifest.precision, device)
        self._input = artifact.manifest.input.name
        self._output = artifact.manifest.output.name
        self._options = onnxruntime.RunOptions()
        self.on_cores = device == "cpu"
        if self.on_cores:
            self._options.log_severity_level = _FATAL
        self._alone = _open_session(artifact, device, 1 if self.on_cores else threads)
        self._spread = _open_session(artifact, device, threads) if self.on_cores and threads > 1 else self._alone
        _check_tensors(self._alone, artifact)

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return `cuda` for `auto` if this ONNX Runtime was built with it, else `cpu`."""
        if device != "auto" and device not in PROVIDERS:
            raise BackendUnavailableError(f"device {device!r} is unknown; known: auto, {', '.join(PROVIDERS)}")
        available = onnxruntime.get_available_providers()
        if device == "auto":
            return "cuda" if PROVIDERS["cuda"][0] in available else "cpu"
        missing = [provider for provider in PROVIDERS[device] if provider not in available]
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
        return self._name

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C]. Raises GraphError if ONNX Runtime cannot compute them."""
        session = self._spread if spread else self._alone
        try:
            logits: NDArray[np.float32] = session.run([self._output], {self._input: images}, self._options)[0]
        except (*_BAD_FILE, *_FAILED) as error:
            raise GraphError(
                f"ONNX Runtime failed while running the graph: {reason(error)}; export the artifact again"
            ) from error
        return logits

    def interrupt(self) -> None:
        """Let runs end before their next node, also in the body of a loop; a node itself is not interrupted."""
        self._options.terminate = True

    def close(self) -> None:
        """Let go of the sessions; their threads end with them."""
        del self._alone, self._spread


def _precision(written: str, device: str) -> str:
    """Return what runs: on a GPU both providers take TF32 for float32 unless they are told not to."""
    if device == "cpu":
        return _ON_CPU.get(written, written)
    return {"fp32": "tf32", "int8": "int8+tf32"}.get(written, written)


def _open_session(artifact: Artifact, device: str, threads: int) -> onnxruntime.InferenceSession:
    providers = PROVIDERS[device]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle sessions leave the cores alone
    if device == "cpu":
        options.log_severity_level = _FATAL
    else:
        onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    beside = _files_beside(artifact)
    options.add_external_initializers_from_files_in_memory([*beside], [*beside.values()], [*map(len, beside.values())])
    try:
        session = onnxruntime.InferenceSession(
            artifact.graph, sess_options=options, providers=list(providers), enable_fallback=0
        )
    except _BAD_FILE as error:
        raise GraphError(f"ONNX Runtime cannot read the graph: {reason(error)}; export the artifact again") from error
    except _FAILED as error:
        if device == "cpu":
            raise GraphError(
                f"ONNX Runtime cannot run the graph: {reason(error)}; export the artifact again"
            ) from error
        raise BackendUnavailableError(
            f"device {device} failed to come up for {artifact.path}: {reason(error)}; choose --device cpu to do without"
        ) from error
    found = tuple(provider for provider in session.get_providers() if provider in providers)
    if found != providers:
        raise BackendUnavailableError(
            f"device {device} failed to come up for {artifact.path}: ONNX Runtime uses {session.get_providers()}, "
            f"expected {list(providers)}; its warnings above say why, --device cpu does without"
        )
    return session


def _files_beside(artifact: Artifact) -> dict[str, bytes]:
    return {MANIFEST_NAME: b"", **files_beside(artifact)}  # without any, they would be looked for in the directory


def _check_tensors(session: onnxruntime.InferenceSession, artifact: Artifact) -> None:
    inputs, outputs = (
        [(node.name, _DTYPES.get(node.type, node.type), node.shape) for node in nodes]
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    check_tensors(artifact.manifest, inputs, outputs)
