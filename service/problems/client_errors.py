"""Errors with a status between 400 and 499: the request must be changed, or sent less often."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from service.problems.errors import ProblemError, RetryLaterError

_CLOSE = MappingProxyType({"Connection": "close"})


class InvalidImageError(ProblemError):
    """The bytes are not a supported image, or are damaged."""

    status = 400
    name = "not-an-image"
    title = "Not an image"


class IncompleteBodyError(ProblemError):
    """The client disconnected before its body was complete."""

    status = 400
    name = "incomplete-body"
    title = "Incomplete body"


class WrongEncodingError(ProblemError):
    """The body is not compressed according to its Content-Encoding."""

    status = 400
    name = "wrong-encoding"
    title = "Wrong encoding"


class MalformedRequestError(ProblemError):
    """The bytes are not an HTTP/1.1 request."""

    status = 400
    name = "malformed-request"
    title = "Malformed request"
    headers = _CLOSE


class ProtocolError(ProblemError):
    """The request violates the protocol, or does not fit the model."""

    status = 400
    name = "invalid-request"
    title = "Invalid request"


class KeyRequiredError(ProblemError):
    """The key is missing or unknown.

    Args:
        detail: as for every problem.
        challenge: value of WWW-Authenticate (RFC 6750, section 3).
    """

    status = 401
    name = "key-required"
    title = "Key required"

    def __init__(self, detail: str, challenge: str) -> None:
        super().__init__(detail)
        self.headers = MappingProxyType({"WWW-Authenticate": challenge})


class AdminRequiredError(ProblemError):
    """The operation requires an admin key."""

    status = 403
    name = "admin-required"
    title = "Admin key required"


class RoutingError(ProblemError):
    """Routing error: no route has this path, or not for this method.

    Args:
        status: HTTP status.
        detail: as for every problem.
        headers: headers of the response.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.title = status.phrase
        self.name = self.title.lower().replace(" ", "-")
        self.headers = headers


class UnknownNameError(ProblemError):
    """The model, variant or version is not served."""

    status = 404
    name = "unknown-name"
    title = "Unknown name"

    def __init__(self, detail: str, known: Iterable[str | int]) -> None:
        self.known = list(known)
        listed = ", ".join(map(str, self.known)) or "none"
        super().__init__(f"{detail}; known: {listed}", known=self.known)


class RequestTimeoutError(ProblemError):
    """The request's head or body took too long to arrive."""

    status = 408
    name = "request-timeout"
    title = "Request timeout"
    headers = _CLOSE


class BodyTooLargeError(ProblemError):
    """The body is over the limit. Its rest is discarded, because many clients send the whole body before they read."""

    status = 413
    name = "body-too-large"
    title = "Body too large"


class TooLargeToHoldError(ProblemError):
    """The request needs more memory than the server allows for all requests together."""

    status = 413
    name = "too-large-to-hold"
    title = "Too large to hold"


class ImageTooLargeError(ProblemError):
    """The image has more pixels than the limit."""

    status = 413
    name = "too-many-pixels"
    title = "Too many pixels"


class UnsupportedContentTypeError(ProblemError):
    """The content type is not supported."""

    status = 415
    name = "unsupported-content-type"
    title = "Unsupported content type"


class UnsupportedEncodingError(ProblemError):
    """The compression is not supported; a header of the response lists the supported ones."""

    status = 415
    name = "unsupported-encoding"
    title = "Unsupported encoding"
    headers = MappingProxyType({"Accept-Encoding": "gzip, deflate"})


class InvalidParameterError(ProblemError):
    """A parameter is unknown, missing, given twice, or has an invalid value."""

    status = 422
    name = "invalid-parameter"
    title = "Invalid parameter"


class InvalidBodyError(ProblemError):
    """The body is not the JSON or multipart document of its content type."""

    status = 422
    name = "invalid-body"
    title = "Invalid body"


class LoadRefusedError(ProblemError):
    """An artifact that was requested to be loaded cannot be served."""

    status = 422
    name = "load-refused"
    title = "Load refused"


class QueueFullError(RetryLaterError):
    """The queue is full."""

    status = 429
    name = "queue-full"
    title = "Queue full"


class RateLimitedError(RetryLaterError):
    """The key has exceeded its rate limit."""

    status = 429
    name = "rate-limited"
    title = "Rate limited"


class HeadTooLargeError(ProblemError):
    """The request line and the headers, or the trailers, are over the limit."""

    status = 431
    name = "head-too-large"
    title = "Head too large"
    headers = _CLOSE


class ClientGoneError(ProblemError):
    """The client closed the connection. The status is for logs and metrics only, by nginx' convention."""

    status = 499
    name = "client-gone"
    title = "Client gone"
