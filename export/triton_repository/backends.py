"""Triton's backends for networks, accelerators of ONNX Runtime, and the plan of a request.

To add a backend or an accelerator, add an entry in BACKENDS or ACCELERATORS.
Sources: the READMEs of triton-inference-server/onnxruntime_backend, /openvino_backend and /tensorrt_backend.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifact import Artifact, Manifest, Precision
from export.process.errors import ExportError
from export.triton_repository.networks import Network
from export.triton_repository.pbtxt import Fields, Symbol, entries
from export.triton_repository.request import Device, TritonRequest


@dataclass(frozen=True)
class Backend:
    """Triton backend: supported artifacts and devices, files, and configuration fields.

    Attributes:
        devices: supported devices; the first is the default.
        fields: fields of the network's configuration.
        refusal: function that returns why the backend cannot run an artifact on a device, with the remedy; None if it
            can.
        note: function that returns a note on differences from posbake's own service; None if there are none.
        runs_engine: True if the backend runs the engine of `export/to_tensorrt.py`, False if it runs the graph.
    """

    devices: tuple[Device, ...]
    fields: Fields
    refusal: Callable[[Manifest, Device], str | None]
    note: Callable[[Manifest], str | None]
    runs_engine: bool = False

    def check(self, manifest: Manifest, device: Device) -> None:
        """Raise ExportError if the backend cannot run an artifact on a device."""
        if (refusal := self.refusal(manifest, device)) is not None:
            raise ExportError(f"{manifest.key} {refusal}")

    def files(self, artifact: Artifact) -> dict[str, Path]:
        """Return the files of a version, by file name in Triton: the engine, or the graph and its external data."""
        if self.runs_engine:
            assert artifact.manifest.engine is not None
            return {"model.plan": artifact.path / artifact.manifest.engine.file}
        graph = artifact.graph.name
        beside = [name for name in artifact.manifest.files if name == graph or name.startswith(f"{graph}.")]
        return {name: artifact.path / name for name in beside}

    def preferred_batches(self, network: Network) -> list[int]:
        """Return the preferred batch sizes of Triton's dynamic batcher: that for which an engine is optimised."""
        engine = network.manifest.engine
        return [engine.profile.opt] if self.runs_engine and engine is not None else []


def _refuse_bf16_on_cpu(manifest: Manifest, device: Device) -> str | None:
    if manifest.precision != "bf16" or device == "gpu":
        return None
    return (
        "is bf16, for which ONNX Runtime has no CPU kernels; choose --device gpu or --backend openvino, or export it "
        "with --precision fp16"
    )


def _refuse_without_engine(manifest: Manifest, _: Device) -> str | None:
    engine, build = manifest.engine, "build one with python export/to_tensorrt.py ARTIFACT --output DIR"
    if engine is None:
        return f"has no engine; {build}, or choose --accelerator tensorrt"
    if engine.flavour != "tensorrt":
        return f"has an engine of {engine.library}, which Triton's backend cannot read; {build} --flavour tensorrt"
    return None


def _engine_note(manifest: Manifest) -> str:
    engine = manifest.engine
    assert engine is not None
    gpu = "" if engine.gpu is None else f" and {engine.gpu.name}"
    return f"the engine requires {engine.library} {engine.version}{gpu} in Triton"


_IN_FLOAT32 = "on a CPU, ONNX Runtime computes this fp16 graph in fp32"
_IN_BF16 = "on CPUs with bf16, OpenVINO computes in bf16; Triton's backend has no parameter to disable that"

BACKENDS: Mapping[str, Backend] = {
    "onnxruntime": Backend(
        ("auto", "cpu", "gpu"),
        {"backend": "onnxruntime"},
        _refuse_bf16_on_cpu,
        lambda manifest: _IN_FLOAT32 if manifest.precision == "fp16" else None,
    ),
    "openvino": Backend(
        ("cpu",),
        {"backend": "openvino", "default_model_filename": "model.onnx"},  # the default is `model.xml`
        lambda *_: None,
        lambda manifest: None if manifest.precision == "bf16" else _IN_BF16,
    ),
    "tensorrt": Backend(("gpu",), {"backend": "tensorrt"}, _refuse_without_engine, _engine_note, runs_engine=True),
}

_PRECISION_MODES: Mapping[Precision, str] = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
"""Values of `precision_mode` of ONNX Runtime's TensorRT provider; there is none for bf16."""


@dataclass(frozen=True)
class Accelerator:
    """Execution provider that ONNX Runtime's backend prefers to its own.

    Attributes:
        device: supported device.
        precisions: supported precisions of graphs.
        fields: function that returns the field `execution_accelerators` of the network's configuration.
    """

    device: Device
    precisions: tuple[Precision, ...]
    fields: Callable[[Network], Fields]

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError if the accelerator cannot run an artifact."""
        if manifest.precision not in self.precisions:
            raise ExportError(
                f"{manifest.key} is {manifest.precision}, which ONNX Runtime's TensorRT accelerator does not support; "
                f"omit --accelerator, or export it with --precision {' or '.join(self.precisions)}"
            )


def _tensorrt_fields(network: Network) -> Fields:
    """Return the precision and the profile; without a profile, each new batch size triggers a build."""
    row = "x".join(map(str, row_shape(network.manifest)))
    sizes = {"min": 1, "opt": network.max_batch, "max": network.max_batch}
    profile = {f"trt_profile_{which}_shapes": f"image:{size}x{row}" for which, size in sizes.items()}
    parameters = {"precision_mode": _PRECISION_MODES[network.manifest.precision], **profile}
    return {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": entries(parameters)}]}


ACCELERATORS: Mapping[str, Accelerator] = {
    "tensorrt": Accelerator("gpu", tuple(_PRECISION_MODES), _tensorrt_fields),
    "openvino": Accelerator(
        "cpu",
        ("fp32", "fp16", "bf16", "int8"),
        lambda _: {"cpu_execution_accelerator": [{"name": "openvino"}]},
    ),
}

KINDS: Mapping[Device, Symbol] = {
    "auto": Symbol("KIND_AUTO"),
    "cpu": Symbol("KIND_CPU"),
    "gpu": Symbol("KIND_GPU"),
}


def row_shape(manifest: Manifest) -> tuple[int, int, int]:
    """Return the shape of one image of the input tensor."""
    image = manifest.input
    return (image.height, image.width, 3) if image.layout == "NHWC" else (3, image.height, image.width)


@dataclass(frozen=True)
class Plan:
    """Backend, accelerator and device of all networks."""

    backend: Backend
    accelerator: Accelerator | None
    device: Device

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError if the plan does not support an artifact."""
        self.backend.check(manifest, self.device)
        if self.accelerator is not None:
            self.accelerator.check(manifest)


def plan(request: TritonRequest) -> Plan:
    """Return the plan of a request.

    Raises:
        ExportError: the backend, accelerator and device cannot be combined.
    """
    backend = BACKENDS[request.backend]
    if request.accelerator is None:
        return Plan(backend, None, _device(request, backend.devices, f"--backend {request.backend}"))
    if request.backend != "onnxruntime":
        raise ExportError(
            f"--accelerator {request.accelerator} requires --backend onnxruntime, the backend is {request.backend}; "
            "omit --accelerator, or choose --backend onnxruntime"
        )
    accelerator = ACCELERATORS[request.accelerator]
    what = f"--accelerator {request.accelerator}"
    return Plan(backend, accelerator, _device(request, (accelerator.device,), what))


def _device(request: TritonRequest, devices: tuple[Device, ...], what: str) -> Device:
    if request.device is not None and request.device not in devices:
        raise ExportError(f"{what} runs on {' or '.join(devices)}, not on {request.device}; choose another --device")
    return request.device or devices[0]
