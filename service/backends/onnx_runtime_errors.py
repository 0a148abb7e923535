"""ONNX Runtime's exceptions, which have no common base class, and detection of GPU failures."""

import re

from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from service.backends.contract import reason

BAD_FILE = (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.InvalidArgument)
"""Exceptions caused by the file, on any device."""

FAILED = (
    *(ort_errors.Fail, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail),
    *(ort_errors.EngineError, ort_errors.NoSuchFile, ort_errors.NoModel, RuntimeError, ValueError),
)

_DEVICE_FAILURE = re.compile(
    r"\b(?:CUDA|CUDNN|CUDNN_FE|CUBLAS|CUBLAS_LT|CUFFT|CURAND) failure -?\d+: [^;\n]*[^;\s]"
    r"|Failed to allocate memory for requested buffer of size \d+"
)
"""Messages of ONNX Runtime's CUDA provider and memory arena, without the host, files and nodes that follow."""

_CONVERTED_TWICE = "Attempt to replace the existing tensor"
"""Message about a shared int8 constant, which ONNX Runtime converts for each of its nodes (see engines.saturation)."""
_NO_CAPTURE = ("cannot use the graph capture feature", "stream is capturing", "during CUDA graph capture")


def device_failure(error: Exception) -> str | None:
    """Return the message of a GPU failure, without names of hosts and files; None for other errors."""
    found = _DEVICE_FAILURE.search(str(error))
    return None if found is None else found[0]


def cpu_failure(error: Exception) -> str:
    """Return the reason of a failure on the CPU, and its remedy."""
    if _CONVERTED_TWICE in str(error):
        return (
            "its int8 layers share constants, and without VNNI instructions this CPU's int8 products would saturate; "
            "export the artifact again, or choose --backend openvino"
        )
    return f"{reason(error)}; export the artifact again"


def refuses_capture(error: Exception) -> bool:
    """Return whether ONNX Runtime refused to capture a CUDA graph; the graph may run without."""
    return any(text in str(error) for text in _NO_CAPTURE)
