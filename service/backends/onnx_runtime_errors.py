"""ONNX Runtime's exceptions, which have no common base, and the failures of a GPU among them."""

import re

from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

BAD_FILE = (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.InvalidArgument)
"""They blame the file, whatever the device."""

FAILED = (
    *(ort_errors.Fail, ort_errors.NotImplemented, ort_errors.RuntimeException, ort_errors.EPFail),
    *(ort_errors.EngineError, ort_errors.NoSuchFile, ort_errors.NoModel, RuntimeError, ValueError),
)

_DEVICE_FAILURE = re.compile(
    r"\b(?:CUDA|CUDNN|CUDNN_FE|CUBLAS|CUBLAS_LT|CUFFT|CURAND) failure -?\d+: [^;\n]*[^;\s]"
    r"|Failed to allocate memory for requested buffer of size \d+"
)
"""As ONNX Runtime's CUDA provider and its memory arena write them. What follows names the host, files and nodes."""

_NO_CAPTURE = ("cannot use the graph capture feature", "stream is capturing", "during CUDA graph capture")


def device_failure(error: Exception) -> str | None:
    """Return what failed on a GPU, without the names of hosts and files; None if the error is not of that kind."""
    found = _DEVICE_FAILURE.search(str(error))
    return None if found is None else found[0]


def refuses_capture(error: Exception) -> bool:
    """Return whether ONNX Runtime cannot capture this graph as a CUDA graph; it may run without."""
    return any(text in str(error) for text in _NO_CAPTURE)
