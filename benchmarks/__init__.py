"""Measurements: scripts that print a table; benchmarks/README.md has the results with date and machine."""

import os
import sys

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Before OpenVINO is loaded: its Python package reports its import to Google Analytics where this one can be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
