"""Plan of an export: validated backend, accelerator and device of a request."""

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
