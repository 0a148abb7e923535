"""What the protocol refuses; a branch of the tree in `service/errors.py`.

ServiceError
└── ProblemError
    └── ProtocolError               400
"""

from service.errors import ProblemError


class ProtocolError(ProblemError):
    """The request does not keep to the protocol, or asks for what this model does not have."""

    status = 400
    name = "invalid-request"
    title = "Invalid request"
