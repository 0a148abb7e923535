"""Triton's backends for networks. To add a backend, add a class and a line in BACKENDS.

Sources: the READMEs of triton-inference-server/onnxruntime_backend, /openvino_backend and /tensorrt_backend.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from artifact import Artifact, Manifest, Precision
from export.process.errors import ExportError
from export.triton_repository.networks import Network
from export.triton_repository.pbtxt import Fields, Symbol, entries
from export.triton_repository.request import Device


class Backend(Protocol):
    """Triton backend: supported artifacts and devices, files, and configuration fields."""

    devices: ClassVar[tuple[Device, ...]]
    """Supported devices; the first is the default."""

    def check(self, manifest: Manifest, device: Device) -> None:
        """Raise ExportError if the backend cannot run an artifact on a device."""

    def fields(self, network: Network) -> Fields:
        """Return the backend's fields of the network's configuration."""

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the files of a version, by file name in Triton."""

    def preferred_batches(self, network: Network) -> list[int]:
        """Return the preferred batch sizes of Triton's dynamic batcher."""

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Return notes on differences from posbake's own service, a sentence each."""


class _OnnxBackend:
    """Base class of backends that read ONNX files."""

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the graph and its external data."""
        graph = artifact.graph.name
        beside = [name for name in artifact.manifest.files if name == graph or name.startswith(f"{graph}.")]
        return {name: artifact.path / name for name in beside}

    def preferred_batches(self, network: Network) -> list[int]:  # noqa: ARG002
        """Return an empty list: no batch size is preferred."""
        return []


class OnnxRuntime(_OnnxBackend):
    """ONNX Runtime on the CPU or on CUDA."""

    devices: ClassVar[tuple[Device, ...]] = ("auto", "cpu", "gpu")

    def check(self, manifest: Manifest, device: Device) -> None:
        """Raise ExportError for bf16 without a GPU."""
        if manifest.precision == "bf16" and device != "gpu":
            raise ExportError(
                f"{manifest.key} is bf16, for which ONNX Runtime has no CPU kernels; choose --device gpu or "
                "--backend openvino, or export it with --precision fp16"
            )

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the name of the backend; the default name of the graph is `model.onnx`."""
        return {"backend": "onnxruntime"}

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Return a note on fp16 on a CPU."""
        if manifest.precision == "fp16":
            return ("on a CPU, ONNX Runtime computes this fp16 graph in fp32",)
        return ()


class OpenVino(_OnnxBackend):
    """OpenVINO on the CPU."""

    devices: ClassVar[tuple[Device, ...]] = ("cpu",)

    def check(self, manifest: Manifest, device: Device) -> None:
        """Accept all artifacts: every precision is supported."""

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the names of the backend and of the graph, whose default is `model.xml`."""
        return {"backend": "openvino", "default_model_filename": "model.onnx"}

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Return a note on bf16, which Triton's backend cannot disable."""
        if manifest.precision == "bf16":
            return ()
        return ("on CPUs with bf16, OpenVINO computes in bf16; Triton's backend has no parameter to disable that",)


class TensorRt:
    """TensorRT on a GPU, with an engine built by `export/to_tensorrt.py`."""

    devices: ClassVar[tuple[Device, ...]] = ("gpu",)

    def check(self, manifest: Manifest, device: Device) -> None:  # noqa: ARG002
        """Raise ExportError unless the artifact has a TensorRT engine."""
        engine = manifest.engine
        build = "build one with python export/to_tensorrt.py ARTIFACT --output DIR"
        if engine is None:
            raise ExportError(f"{manifest.key} has no engine; {build}, or choose --accelerator tensorrt")
        if engine.flavour != "tensorrt":
            raise ExportError(
                f"{manifest.key} has an engine of {engine.library}, which Triton's backend cannot read; {build} "
                "--flavour tensorrt"
            )

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the name of the backend; the default name of the engine is `model.plan`."""
        return {"backend": "tensorrt"}

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the engine."""
        assert artifact.manifest.engine is not None
        return {"model.plan": artifact.path / artifact.manifest.engine.file}

    def preferred_batches(self, network: Network) -> list[int]:
        """Return the batch size for which the engine is optimised."""
        assert network.manifest.engine is not None
        return [network.manifest.engine.profile.opt]

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Return a note on the required TensorRT version and GPU."""
        engine = manifest.engine
        assert engine is not None
        gpu = "" if engine.gpu is None else f" and {engine.gpu.name}"
        return (f"the engine requires {engine.library} {engine.version}{gpu} in Triton",)


BACKENDS: Mapping[str, Backend] = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino(), "tensorrt": TensorRt()}

_PRECISION_MODES: Mapping[Precision, str] = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
"""Values of `precision_mode` of ONNX Runtime's TensorRT provider; there is none for bf16."""


class Accelerator(Protocol):
    """Execution provider that ONNX Runtime's backend prefers to its own."""

    device: ClassVar[Device]
    """Supported device."""

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError if the accelerator cannot run an artifact."""

    def fields(self, network: Network) -> Fields:
        """Return the field `execution_accelerators` of the network's configuration."""


class TensorRtAccelerator:
    """TensorRT on a GPU. The engine is built at load, with one profile from 1 to the maximum batch size."""

    device: ClassVar[Device] = "gpu"

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError for bf16."""
        if manifest.precision not in _PRECISION_MODES:
            raise ExportError(
                f"{manifest.key} is {manifest.precision}, which ONNX Runtime's TensorRT accelerator does not support; "
                f"omit --accelerator, or export it with --precision {' or '.join(_PRECISION_MODES)}"
            )

    def fields(self, network: Network) -> Fields:
        """Return the precision and the profile; without a profile, each new batch size triggers a build."""
        row = "x".join(map(str, row_shape(network.manifest)))
        sizes = {"min": 1, "opt": network.max_batch, "max": network.max_batch}
        profile = {f"trt_profile_{which}_shapes": f"image:{size}x{row}" for which, size in sizes.items()}
        parameters = {"precision_mode": _PRECISION_MODES[network.manifest.precision], **profile}
        return {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": entries(parameters)}]}


class OpenVinoAccelerator:
    """OpenVINO on the CPU."""

    device: ClassVar[Device] = "cpu"

    def check(self, manifest: Manifest) -> None:
        """Accept all artifacts that the backend accepts."""

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the name of the accelerator; there are no parameters."""
        return {"cpu_execution_accelerator": [{"name": "openvino"}]}


ACCELERATORS: Mapping[str, Accelerator] = {"tensorrt": TensorRtAccelerator(), "openvino": OpenVinoAccelerator()}

KINDS: Mapping[Device, Symbol] = {
    "auto": Symbol("KIND_AUTO"),
    "cpu": Symbol("KIND_CPU"),
    "gpu": Symbol("KIND_GPU"),
}


def row_shape(manifest: Manifest) -> tuple[int, int, int]:
    """Return the shape of one image of the input tensor."""
    image = manifest.input
    return (image.height, image.width, 3) if image.layout == "NHWC" else (3, image.height, image.width)
