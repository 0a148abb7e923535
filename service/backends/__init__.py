"""What runs artifacts. A new runtime is a file beside this one and a line in BACKENDS."""

import importlib

from service.backends.base import Backend
from service.errors import BackendUnavailableError

BACKENDS = {
    "onnxruntime": ("service.backends.onnx_runtime", "OnnxRuntimeBackend"),
}
"""Module and class by name, in the order in which `auto` tries them; imported only when chosen."""


def backend_type(name: str) -> type[Backend]:
    """Return the backend of that name; `auto` is the first that is installed.

    Raises:
        BackendUnavailableError: there is no such backend, or it is not installed.
    """
    if name != "auto" and name not in BACKENDS:
        raise BackendUnavailableError(f"backend {name!r} is unknown; known: auto, {', '.join(BACKENDS)}")
    reasons = []
    for candidate in BACKENDS if name == "auto" else [name]:
        module, attribute = BACKENDS[candidate]
        try:
            found: type[Backend] = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            reasons.append(f"backend {candidate} cannot be had: {error}")
        else:
            return found
    raise BackendUnavailableError(f"{'; '.join(reasons)}; install one of posbake's extras service and gpu")
