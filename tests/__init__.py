"""Tests, in folders that mirror the packages."""

import os
import sys

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Before OpenVINO is loaded: its Python package reports its import to Google Analytics if this module can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
