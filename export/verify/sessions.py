"""ONNX Runtime on the CPU, for checks of graphs."""

from pathlib import Path

import onnxruntime as ort

from engines.saturation import EXACT_INT8_IN_ONNX_RUNTIME


def cpu_session(graph: Path | bytes, threads: int = 0) -> ort.InferenceSession:
    """Open a graph, a file or its content; int8 products do not saturate on any CPU.

    Args:
        graph: the graph.
        threads: number of threads of a run; 0 for one per core.

    Raises:
        Exception: ONNX Runtime cannot load the graph; its errors have no common base class.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*EXACT_INT8_IN_ONNX_RUNTIME)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
