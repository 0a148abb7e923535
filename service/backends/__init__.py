"""What runs artifacts. A new runtime is a file beside this one and a line in BACKENDS."""

import importlib
import logging

from service.backends.base import CPU_PRECISIONS, Backend
from service.problems.errors import BackendUnavailableError

logger = logging.getLogger(__name__)

BACKENDS = {
    "openvino": ("service.backends.openvino", "OpenVinoBackend"),
    "onnxruntime": ("service.backends.onnx_runtime", "OnnxRuntimeBackend"),
}
"""Module and class by name, imported only when chosen."""

_ACCELERATED = ("onnxruntime",)
"""Backends that `auto` asks for a device other than the CPU."""

_ON_CPU = ("onnxruntime", "openvino")
"""Backends for the CPU; `auto` takes the first that works."""


def choose_backend(name: str, device: str, cpu_precision: str) -> tuple[type[Backend], str]:
    """Return the backend of that name, and the device.

    `auto` is what has a device other than the CPU, unless the CPU is asked for; else the first that works on the CPU.

    Args:
        name: of a backend, or `auto`.
        device: a backend's, or `auto`.
        cpu_precision: one of CPU_PRECISIONS.

    Raises:
        BackendUnavailableError: there is no such backend, device or precision, or it is not available.
    """
    if cpu_precision not in CPU_PRECISIONS:
        raise BackendUnavailableError(f"CPU precision {cpu_precision!r} is unknown; known: {', '.join(CPU_PRECISIONS)}")
    if name != "auto" and name not in BACKENDS:
        raise BackendUnavailableError(f"backend {name!r} is unknown; known: auto, {', '.join(BACKENDS)}")
    if name != "auto":
        found = _import(name)
        return found, found.resolve_device(device)
    if device != "cpu" and (accelerated := _accelerated(device)) is not None:
        return accelerated
    return _on_cpu()


def _accelerated(device: str) -> tuple[type[Backend], str] | None:
    """Return a backend with a device other than the CPU; None if there is none and `auto` may do without."""
    for name in _ACCELERATED:
        try:
            found = _import(name)
            resolved = found.resolve_device(device)
        except BackendUnavailableError:
            if device != "auto":
                raise
        else:
            if resolved != "cpu":
                return found, resolved
    return None


def _on_cpu() -> tuple[type[Backend], str]:
    reasons = []
    for name in _ON_CPU:
        try:
            found = _import(name)
            resolved = found.resolve_device("cpu")
        except BackendUnavailableError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            logger.warning("%s; artifacts run on %s instead", reason, name)
        return found, resolved
    raise BackendUnavailableError("; ".join(reasons))


def _import(name: str) -> type[Backend]:
    module, attribute = BACKENDS[name]
    try:
        found: type[Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise BackendUnavailableError(
            f"backend {name} is not available: {error}; install one of posbake's extras service, gpu and openvino"
        ) from error
    return found
