"""Backends of Triton that run a network, by name. A new one is a class and a line in BACKENDS.

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
    """A backend: which networks it runs, on which devices, and its part of their configuration."""

    devices: ClassVar[tuple[Device, ...]]
    """That it runs on; the first is the default."""

    def check(self, manifest: Manifest, device: Device) -> None:
        """Raise ExportError if it cannot run an artifact on a device."""

    def fields(self, network: Network) -> Fields:
        """Return its fields of the network's configuration."""

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the files of a version that it reads, by their names in Triton."""

    def preferred_batches(self, network: Network) -> list[int]:
        """Return the batch sizes that are worth waiting for."""

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Return sentences on what differs from the artifact as posbake serves it."""


class _ReadsOnnx:
    """A backend that reads ONNX files, by path: weights may be beside the graph."""

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the graph and its weights."""
        graph = artifact.graph.name
        beside = [name for name in artifact.manifest.files if name == graph or name.startswith(f"{graph}.")]
        return {name: artifact.path / name for name in beside}

    def preferred_batches(self, network: Network) -> list[int]:  # noqa: ARG002
        """Return none: every size runs equally well."""
        return []


class OnnxRuntime(_ReadsOnnx):
    """ONNX Runtime on the CPU or on CUDA."""

    devices: ClassVar[tuple[Device, ...]] = ("auto", "cpu", "gpu")

    def check(self, manifest: Manifest, device: Device) -> None:
        """bf16 has kernels on a GPU alone."""
        if manifest.precision == "bf16" and device != "gpu":
            raise ExportError(
                f"{manifest.key} is bf16, which ONNX Runtime has no CPU kernels for; choose --device gpu or "
                "--backend openvino, or export it with --precision fp16"
            )

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the backend's name; its graph is `model.onnx` by default."""
        return {"backend": "onnxruntime"}

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """fp16 on a CPU is converted node by node."""
        if manifest.precision == "fp16":
            return ("on a CPU, ONNX Runtime computes this fp16 graph in fp32",)
        return ()


class OpenVino(_ReadsOnnx):
    """OpenVINO on the CPU; it reads ONNX files."""

    devices: ClassVar[tuple[Device, ...]] = ("cpu",)

    def check(self, manifest: Manifest, device: Device) -> None:
        """Every precision runs."""

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the backend's name, and that of the graph, which is `model.xml` by default."""
        return {"backend": "openvino", "default_model_filename": "model.onnx"}

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """Triton's backend has no parameter for float32."""
        if manifest.precision == "bf16":
            return ()
        return ("where the CPU has bf16, OpenVINO computes in it, and Triton's backend has no parameter against that",)


class TensorRt:
    """TensorRT on a GPU: the engine that `export/to_tensorrt.py` built."""

    devices: ClassVar[tuple[Device, ...]] = ("gpu",)

    def check(self, manifest: Manifest, device: Device) -> None:  # noqa: ARG002
        """It needs an engine of TensorRT itself."""
        engine = manifest.engine
        build = "build one with python export/to_tensorrt.py ARTIFACT --output DIR"
        if engine is None:
            raise ExportError(f"{manifest.key} has no engine; {build}, or choose --accelerator tensorrt")
        if engine.flavour != "tensorrt":
            raise ExportError(
                f"{manifest.key} has an engine of {engine.library}, which Triton's backend does not read; {build} "
                "--flavour tensorrt"
            )

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return the backend's name; its engine is `model.plan` by default."""
        return {"backend": "tensorrt"}

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the engine."""
        assert artifact.manifest.engine is not None
        return {"model.plan": artifact.path / artifact.manifest.engine.file}

    def preferred_batches(self, network: Network) -> list[int]:
        """Return the size that the engine's kernels were chosen for."""
        assert network.manifest.engine is not None
        return [network.manifest.engine.profile.opt]

    def notes(self, manifest: Manifest) -> tuple[str, ...]:
        """An engine fits one version and one kind of GPU."""
        engine = manifest.engine
        assert engine is not None
        gpu = "" if engine.gpu is None else f" and {engine.gpu.name}"
        return (f"the engine is for {engine.library} {engine.version}{gpu}: Triton's image and GPU must be the same",)


BACKENDS: Mapping[str, Backend] = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino(), "tensorrt": TensorRt()}

_PRECISION_MODES: Mapping[Precision, str] = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
"""`precision_mode` of ONNX Runtime's TensorRT provider; it has none for bf16."""


class Accelerator(Protocol):
    """An execution provider that ONNX Runtime's backend puts before its own."""

    device: ClassVar[Device]
    """That it runs on."""

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError if it cannot run an artifact."""

    def fields(self, network: Network) -> Fields:
        """Return its `execution_accelerators`."""


class TensorRtAccelerator:
    """TensorRT on a GPU: an engine is built at load, for one profile from 1 to the largest batch."""

    device: ClassVar[Device] = "gpu"

    def check(self, manifest: Manifest) -> None:
        """bf16 has no precision mode."""
        if manifest.precision not in _PRECISION_MODES:
            raise ExportError(
                f"{manifest.key} is {manifest.precision}, which ONNX Runtime's TensorRT accelerator has no mode for; "
                f"leave --accelerator out, or export it with --precision {' or '.join(_PRECISION_MODES)}"
            )

    def fields(self, network: Network) -> Fields:
        """Return the precision of the graph, and the profile: without one, every new batch size builds an engine."""
        row = "x".join(map(str, row_shape(network.manifest)))
        sizes = {"min": 1, "opt": network.max_batch, "max": network.max_batch}
        profile = {f"trt_profile_{which}_shapes": f"image:{size}x{row}" for which, size in sizes.items()}
        parameters = {"precision_mode": _PRECISION_MODES[network.manifest.precision], **profile}
        return {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": entries(parameters)}]}


class OpenVinoAccelerator:
    """OpenVINO on the CPU."""

    device: ClassVar[Device] = "cpu"

    def check(self, manifest: Manifest) -> None:
        """Every precision that ONNX Runtime's own providers run."""

    def fields(self, network: Network) -> Fields:  # noqa: ARG002
        """Return its name; it takes no parameters."""
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
