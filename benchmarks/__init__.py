"""Measurement scripts that print tables; results with date and machine are in benchmarks/README.md."""

import os
import sys

# Set before ONNX Runtime is loaded: its wheels send telemetry by default since 1.29.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Blocked before OpenVINO is loaded: with this package, `import openvino` reports to Google Analytics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
