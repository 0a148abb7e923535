"""Examples; run their modules with `python -m` in the root of the repository."""

import os

# Set before ONNX Runtime is loaded: its wheels send telemetry by default since 1.29.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
