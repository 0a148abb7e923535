"""Worked examples: run their modules with `python -m` from the root of the repository."""

import os

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
