"""ONNX Runtime on the CPU, for checks of graphs."""

from pathlib import Path

import onnxruntime as ort

from engines.saturation import EXACT_INT8_IN_ONNX_RUNTIME


def cpu_session(graph: Path | bytes) -> ort.InferenceSession:
    """Open a graph, a file or its content, so that int8 products do not saturate on any CPU.

    Raises:
        Exception: ONNX Runtime cannot load the graph; its errors have no common base class.
    """
    options = ort.SessionOptions()
    for entry, value in EXACT_INT8_IN_ONNX_RUNTIME.items():
        options.add_session_config_entry(entry, value)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
