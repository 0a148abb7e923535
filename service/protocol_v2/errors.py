"""What the protocol refuses; a branch of the tree in `service/problems/errors.py`.

ServiceError
└── ProblemError
    └── ProtocolError               400
"""

from service.problems.errors import ProblemError


class ProtocolError(ProblemError):
    """The request does not keep to the protocol, or asks for what this model does not have."""

    status = 400
    name = "invalid-request"
    title = "Invalid request"


def shown(value: object) -> str:
    """Return what a client sent as a message shows it: at most 200 characters of it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
