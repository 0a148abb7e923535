"""Export of trained networks to artifacts: `from export import ExportRequest, export_onnx`.

The names below are imported when they are first used, because they bring torch, which takes seconds.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Before OpenVINO is loaded: its Python package reports its import to Google Analytics where this one can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from export.pipeline import export_onnx
    from export.process.errors import ExportError
    from export.request import Exported, ExportRequest

__all__ = ["ExportError", "ExportRequest", "Exported", "export_onnx"]

_MODULES = {
    "ExportError": "export.process.errors",
    "ExportRequest": "export.request",
    "Exported": "export.request",
    "export_onnx": "export.pipeline",
}


def __getattr__(name: str) -> object:
    """Import the module of a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
