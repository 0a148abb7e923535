"""Plan of an export: the backend, accelerator and device that a request comes to."""

from dataclasses import dataclass

from artifact import Manifest
from export.process.errors import ExportError
from export.triton_repository.backends import ACCELERATORS, BACKENDS, Accelerator, Backend
from export.triton_repository.request import Device, TritonRequest


@dataclass(frozen=True)
class Plan:
    """Backend, accelerator and device of all networks."""

    backend: Backend
    accelerator: Accelerator | None
    device: Device

    def check(self, manifest: Manifest) -> None:
        """Raise ExportError if an artifact cannot be run so."""
        self.backend.check(manifest, self.device)
        if self.accelerator is not None:
            self.accelerator.check(manifest)


def plan(request: TritonRequest) -> Plan:
    """Return how a request's networks are run.

    Raises:
        ExportError: the accelerator or the device does not go with the backend, or with each other.
    """
    backend = BACKENDS[request.backend]
    if request.accelerator is None:
        return Plan(backend, None, _device(request, backend.devices, f"--backend {request.backend}"))
    if request.backend != "onnxruntime":
        raise ExportError(
            f"--accelerator {request.accelerator} is one of ONNX Runtime's, the backend is {request.backend}; leave it "
            "out, or choose --backend onnxruntime"
        )
    accelerator = ACCELERATORS[request.accelerator]
    what = f"--accelerator {request.accelerator}"
    return Plan(backend, accelerator, _device(request, (accelerator.device,), what))


def _device(request: TritonRequest, devices: tuple[Device, ...], what: str) -> Device:
    if request.device is not None and request.device not in devices:
        raise ExportError(f"{what} runs on {' or '.join(devices)}, not on {request.device}; choose another --device")
    return request.device or devices[0]
