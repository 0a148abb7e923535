"""Errors of an export.

ExportError
├── ParityError             the graph's logits differ from the network's
└── UnreadableModelError    an ONNX file or its external data cannot be read
"""


class ExportError(Exception):
    """An export failed; the message names the cause and the remedy."""


class ParityError(ExportError):
    """The exported graph does not reproduce the network's logits."""


class UnreadableModelError(ExportError):
    """An ONNX file or its external data cannot be read; the message names the cause and the remedy."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().split("\n", 1)[0]
