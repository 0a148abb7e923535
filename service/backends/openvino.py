"""OpenVINO on the CPU, one image at a time.

The graph is compiled for one image, and each image of a batch is a separate run. Measured on 2 cores at batch 8, this
takes 0.87 to 0.98 of the CPU time of one run (Swin-T in float32, bf16 and int8, ViT-S); for the digits' swin-table at
mixed batch sizes 0.77, because with a dynamic batch each change of size prepares all nodes again. All shapes are known,
so OpenVINO allocates all memory of a run when it compiles, independently of the image.

The number of threads belongs to a compiled model, not to a run: one model has all threads in one stream, for one image
while cores are idle, and another has a stream of one thread for each concurrent run. Both share the source graph; each
has its weights in the layout of its kernels. With one stream, OpenVINO runs a single image in the caller's thread, with
several in a stream's thread, while the caller waits: a model for each thread would repeat the weights.

INFERENCE_PRECISION_HINT is always set: by default OpenVINO computes in bfloat16 if the CPU supports it. Threads are not
pinned, because every process would be pinned to the same cores. The service sets their number, because it knows the
container's quota; hyper-threads are included.
"""

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from artifact import Artifact
from engines.saturation import exact_int8_in_openvino
from imaging.preprocess import Tensor
from service.backends.base import CPU_PRECISIONS, Operators
from service.backends.child import first_run
from service.backends.openvino_errors import FAILED, said
from service.backends.openvino_reading import read_graph
from service.backends.openvino_requests import Requests
from service.problems.errors import BackendUnavailableError, GraphError

_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
_PRODUCTS = {"FullyConnected", "MatMul", "Convolution"}
_QUANTISED = {"i8", "u8"}


class OpenVinoBackend:
    """OpenVINO's compiled models of one artifact."""

    on_cores = True
    overlaps = False
    batched = False

    def __init__(self, artifact: Artifact, device: str, threads: int, cpu_precision: str = "fp32") -> None:
        self._name = f"openvino-{device}"
        wanted = _precision(artifact.manifest.precision, cpu_precision)
        core = _core()
        model = read_graph(core, artifact)
        try:
            self._spread = Requests(core.compile_model(model, "CPU", _properties(wanted, 1, threads)))
            self._alone = self._spread
            if threads > 1:
                self._alone = Requests(core.compile_model(model, "CPU", _properties(wanted, threads, threads)))
            self.operators = _operators(self._alone.compiled)
        except FAILED as error:
            raise GraphError(
                f"OpenVINO cannot run the graph: {said(error)}; export the artifact again, or choose "
                "--backend onnxruntime"
            ) from error
        ran = {_hint(requests.compiled) for requests in (self._spread, self._alone)}
        if ran != {wanted}:
            raise BackendUnavailableError(
                f"OpenVINO computes in {', '.join(sorted(ran))}, {wanted} was requested; choose --cpu-precision fp32, "
                "or --backend onnxruntime"
            )
        self._opened = [self._spread, self._alone]
        quantised = any(_QUANTISED & self.operators.get(product, {}).keys() for product in _PRODUCTS)
        self.precision = f"int8+{_NAMES[wanted]}" if quantised else _NAMES[wanted]

    @staticmethod
    def resolve_device(device: str) -> str:
        """Return `cpu`, after OpenVINO compiled a graph in a child process: see child."""
        if device not in {"auto", "cpu"}:
            raise BackendUnavailableError(
                f"device {device!r} is not available: OpenVINO runs on the CPU here; known: auto, cpu; "
                "choose --backend onnxruntime for others"
            )
        first_run()
        return "cpu"

    @property
    def name(self) -> str:
        """`openvino-cpu`."""
        return self._name

    def prepare(self, largest: int) -> None:
        """Do nothing: memory is allocated when a graph is compiled."""

    def run(self, images: Tensor, *, spread: bool = True) -> NDArray[np.float32]:
        """Return logits, float32 [B, C]. Raises GraphError if OpenVINO cannot compute them."""
        try:
            if not spread:
                return self._alone.run(images, at_a_time=1)
            return self._spread.run(images, 1) if len(images) == 1 else self._alone.run(images, len(images))
        except FAILED as error:
            raise GraphError(
                f"OpenVINO failed while running the graph: {said(error)}; export the artifact again, or choose "
                "--backend onnxruntime"
            ) from error

    def interrupt(self) -> None:
        """Stop runs before their next node; a node itself is not interrupted."""
        for requests in list(self._opened):
            requests.cancel()

    def close(self) -> None:
        """Release the compiled models; current runs keep theirs until they end."""
        self._opened.clear()
        del self._spread, self._alone


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def _precision(written: str, cpu_precision: str) -> str:
    """Return OpenVINO's name of the floating-point type to compute in.

    Args:
        written: the artifact's precision.
        cpu_precision: precision of fp32 artifacts.

    Raises:
        BackendUnavailableError: the CPU does not support it.
    """
    assert cpu_precision in CPU_PRECISIONS
    has_bf16 = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if written in {"bf16", "int8"}:
        return "bf16" if has_bf16 else "f32"
    if written == "fp32" and cpu_precision == "bf16":
        if not has_bf16:
            raise BackendUnavailableError(
                "CPU precision bf16 is not available: this CPU has no bfloat16 instructions; choose "
                "--cpu-precision fp32"
            )
        return "bf16"
    return "f32"


def _properties(precision: str, streams: int, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
        **exact_int8_in_openvino(),
    }


def _hint(compiled: openvino.CompiledModel) -> str:
    """Return the floating-point type that a compiled model computes in, which may differ from the requested one."""
    return str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())


def _operators(compiled: openvino.CompiledModel) -> Operators:
    """Return the number of compiled nodes by operator and precision, without constants."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for node in compiled.get_runtime_model().get_ops():
        about = node.get_rt_info()
        operator = str(about["layerType"].astype(str))
        if operator not in {"Const", "Input", "Output"}:
            found[operator][str(about["runtimePrecision"].astype(str))] += 1
    return {operator: dict(precisions) for operator, precisions in sorted(found.items())}
