"""Measurements: scripts that print a table; results with date and machine stand in benchmarks/README.md."""

import os

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
