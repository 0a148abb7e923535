"""Errors of an export.

ExportError
├── ParityError             the graph's logits are not the network's
└── UnreadableModelError    a file to be audited, or the data beside it, cannot be read
"""


class ExportError(Exception):
    """An export cannot go on; the message names the cause and the remedy."""


class ParityError(ExportError):
    """The exported graph does not compute what the network computes."""


class UnreadableModelError(ExportError):
    """The file, or the data that it keeps beside itself, cannot be read; the message names the cause and the remedy."""


def first_line(error: BaseException) -> str:
    """Return the first sentence of an error."""
    return str(error).strip().split("\n", 1)[0]
