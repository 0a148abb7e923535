"""Serves a repository of artifacts over HTTP. Knows neither torch nor how an artifact was made."""

import os

# Before ONNX Runtime is loaded: from 1.29 on its wheels send telemetry unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
