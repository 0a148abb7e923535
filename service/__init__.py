"""REST service for a repository of artifacts. It imports neither torch nor the code that exports.

`from service import create_app` imports the app when it is first used; `import service` alone imports no web framework.
"""

import os
import sys
from typing import TYPE_CHECKING

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Before OpenVINO is loaded: its Python package reports its import to Google Analytics where this one can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from service.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> object:
    """Import the app when its factory is asked for."""
    if name != "create_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service.app import create_app

    return create_app
