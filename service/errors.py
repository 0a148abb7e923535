"""What can go wrong while serving.

ServiceError
├── StartupError                    the server cannot start; the message is one sentence with the remedy
│   ├── RepositoryError                 no repository, an empty one, nothing usable in it, no such default model
│   ├── BackendUnavailableError         the backend or device cannot be had
│   └── AddressError                    the host and port cannot be bound
├── RefusalError                    one artifact cannot be served; the rest are
│   ├── MisplacedArtifactError          its directories and its manifest disagree about its name
│   └── GraphError                      a backend cannot run its graph, or the graph is not what the manifest says
└── ProblemError                    an answer, RFC 9457
    ├── NotAnImageError                 400
    ├── IncompleteBodyError             400
    ├── UnknownNameError                404, with `known`
    ├── BodyTooLargeError               413, with `limit`
    ├── TooManyPixelsError              413, with `limit`
    ├── UnsupportedContentTypeError     415, with `supported`
    ├── InvalidParameterError           422
    ├── InvalidBodyError                422
    ├── InferenceError                  500
    └── NotReadyError                   503
"""

from collections.abc import Iterable
from typing import ClassVar


class ServiceError(Exception):
    """Anything this package raises on purpose."""


class StartupError(ServiceError):
    """The server cannot start."""


class RepositoryError(StartupError):
    """There is no repository, it is empty, nothing in it can be served, or the default model is not in it."""


class BackendUnavailableError(StartupError):
    """The backend or device asked for cannot be had here."""


class AddressError(StartupError):
    """The host and port cannot be bound."""


class RefusalError(ServiceError):
    """One artifact cannot be served."""


class MisplacedArtifactError(RefusalError):
    """The artifact's directories and its manifest disagree about model, variant or version."""


class GraphError(RefusalError):
    """A backend cannot run the graph, or the graph does not have the input and output of the manifest."""


class ProblemError(ServiceError):
    """An error answer; `detail` says what was wrong and what would be right.

    Args:
        detail: for the person who sent the request.
        members: further members of the answer, as RFC 9457 section 3.2 allows.
    """

    status: ClassVar[int]
    name: ClassVar[str]
    title: ClassVar[str]
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class NotAnImageError(ProblemError):
    """The bytes are not an image this service decodes, or they are damaged."""

    status = 400
    name = "not-an-image"
    title = "Not an image"


class IncompleteBodyError(ProblemError):
    """The client went away before its body was complete."""

    status = 400
    name = "incomplete-body"
    title = "Incomplete body"


class UnknownNameError(ProblemError):
    """No such model, variant or version is served."""

    status = 404
    name = "unknown-name"
    title = "Unknown name"

    def __init__(self, detail: str, known: Iterable[str | int]) -> None:
        self.known = list(known)
        listed = ", ".join(map(str, self.known)) or "none"
        super().__init__(f"{detail}; known: {listed}", known=self.known)


class BodyTooLargeError(ProblemError):
    """The body is over the limit. The connection closes, for what is left of the body will not be read."""

    status = 413
    name = "body-too-large"
    title = "Body too large"
    headers: ClassVar[dict[str, str]] = {"Connection": "close"}


class TooManyPixelsError(ProblemError):
    """The image has more pixels than the limit."""

    status = 413
    name = "too-many-pixels"
    title = "Too many pixels"


class UnsupportedContentTypeError(ProblemError):
    """The body is of a type that holds no image."""

    status = 415
    name = "unsupported-content-type"
    title = "Unsupported content type"


class InvalidParameterError(ProblemError):
    """A query parameter is missing or has a value that is not allowed."""

    status = 422
    name = "invalid-parameter"
    title = "Invalid parameter"


class InvalidBodyError(ProblemError):
    """The body is not the JSON or multipart document that its type announces."""

    status = 422
    name = "invalid-body"
    title = "Invalid body"


class InferenceError(ProblemError):
    """The network gave an answer that means nothing."""

    status = 500
    name = "inference-failed"
    title = "Inference failed"


class NotReadyError(ProblemError):
    """The server is still starting, or already stopping."""

    status = 503
    name = "not-ready"
    title = "Not ready"
