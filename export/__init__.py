"""Export of trained networks to artifacts: `from export import ExportRequest, export_onnx`.

The public names are imported on first use, because they import torch, which takes seconds.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

# Set before ONNX Runtime is imported: its wheels send telemetry from version 1.29 on unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Set before OpenVINO is imported: it reports imports to Google Analytics if this package is importable.
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
