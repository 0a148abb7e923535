"""What can go wrong in an export.

ExportError
├── ParityError             the graph's logits are not the network's
└── UnreadableModelError    a file to be audited cannot be read (export.auditing.errors)
"""


class ExportError(Exception):
    """An export cannot go on; the message names the cause and the remedy."""


class ParityError(ExportError):
    """The exported graph does not compute what the network computes."""
