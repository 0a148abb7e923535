"""REST service for a repository of artifacts. It imports neither torch nor `export`.

`from service import create_app` imports the app when it is first used; `import service` alone imports no web framework.
"""

import os
import sys
from typing import TYPE_CHECKING

# Set before ONNX Runtime is loaded: its wheels send telemetry from version 1.29 on unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Set before OpenVINO is loaded: its Python package reports imports to Google Analytics if this package is importable.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from service.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> object:
    """Import the app on first access to its factory."""
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service.app import create_app

    return create_app
