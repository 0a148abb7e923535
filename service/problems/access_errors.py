"""What access refuses; a branch of the tree in `service/problems/errors.py`.

ServiceError
├── StartupError
│   └── AccessSettingError          settings that cannot be honoured, or a file of keys that cannot be used
└── ProblemError
    ├── MalformedRequestError       400 closes the connection
    ├── KeyRequiredError            401 with WWW-Authenticate
    ├── AdminRequiredError          403
    ├── RequestTimeoutError         408 closes the connection
    ├── HeadTooLargeError           431 closes the connection
    └── RetryLaterError
        ├── RateLimitedError        429 with Retry-After
        └── ConnectionsFullError    503 with Retry-After, closes the connection
"""

from types import MappingProxyType

from service.problems.errors import ProblemError, RetryLaterError, StartupError

_CLOSE = MappingProxyType({"Connection": "close"})


class AccessSettingError(StartupError):
    """A setting of access makes no sense, or the file of keys cannot be read or holds what is not a key."""


class MalformedRequestError(ProblemError):
    """The bytes are not an HTTP/1.1 request."""

    status = 400
    name = "malformed-request"
    title = "Malformed request"
    headers = _CLOSE


class KeyRequiredError(ProblemError):
    """No key was sent, or one that is not known.

    Args:
        detail: as for every problem.
        challenge: the value of WWW-Authenticate (RFC 6750, section 3).
    """

    status = 401
    name = "key-required"
    title = "Key required"

    def __init__(self, detail: str, challenge: str) -> None:
        super().__init__(detail)
        self.headers = MappingProxyType({"WWW-Authenticate": challenge})


class AdminRequiredError(ProblemError):
    """Only an admin key may do this."""

    status = 403
    name = "admin-required"
    title = "Admin key required"


class RequestTimeoutError(ProblemError):
    """The request's head or body took too long to arrive."""

    status = 408
    name = "request-timeout"
    title = "Request timeout"
    headers = _CLOSE


class RateLimitedError(RetryLaterError):
    """This key asks more often than it may."""

    status = 429
    name = "rate-limited"
    title = "Rate limited"


class HeadTooLargeError(ProblemError):
    """The request line and the headers, or the trailers, are over the limit."""

    status = 431
    name = "head-too-large"
    title = "Head too large"
    headers = _CLOSE


class ConnectionsFullError(RetryLaterError):
    """As many connections are open as may be."""

    status = 503
    name = "connections-full"
    title = "Connections full"
