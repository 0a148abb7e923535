"""What can go wrong while serving. What access refuses is a branch of its own, in `service/problems/access_errors.py`.

ServiceError
├── StartupError                    the server cannot start; the message is one sentence with the remedy
│   ├── RepositoryError                 no repository, an empty one, nothing usable in it, no such default model
│   ├── BackendUnavailableError         the backend or device cannot be had
│   ├── TracingUnavailableError         a collector of traces is named, but what sends them is not installed
│   ├── ImageSettingError               a setting of how images are read is unknown, or its resizer not available
│   └── AddressError                    the host and port cannot be bound
├── RefusalError                    one artifact cannot be served; the rest are
│   ├── MisplacedArtifactError          its directories and its manifest disagree about its name
│   ├── ChangedFilesError               its files change while they are read, or are not those that are served
│   ├── TaskError                       its task is not that of its model's other variants
│   ├── LoadTimeoutError                verifying, opening and warming it took longer than LOAD_TIMEOUT
│   ├── GoldenError                     a backend does not reproduce the logits of its golden file
│   └── GraphError                      a backend cannot run its graph, or the graph is not what the manifest says
└── ProblemError                    an answer, RFC 9457
    ├── InvalidImageError               400
    ├── IncompleteBodyError             400
    ├── WrongEncodingError              400
    ├── UnknownNameError                404, with `known`
    ├── BodyTooLargeError               413, with `limit`
    ├── TooLargeToHoldError             413, with `limit`
    ├── ImageTooLargeError              413, with `limit`
    ├── UnsupportedContentTypeError     415, with `supported`
    ├── UnsupportedEncodingError        415, with Accept-Encoding
    ├── InvalidParameterError           422
    ├── InvalidBodyError                422
    ├── ClientGoneError                 499, which nobody reads
    ├── InferenceError                  500
    ├── UnexpectedError                 500
    ├── RoutingError                    404, 405: HTTP's own
    ├── DecodeTimeoutError              504
    ├── DeadlineError                   504
    │   └── NoVariantFitsError              504, with `considered`
    └── RetryLaterError                 with Retry-After
        ├── QueueFullError                  429
        ├── MemoryFullError                 503
        ├── NotReadyError                   503
        └── BackendDownError                503
"""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType


class ServiceError(Exception):
    """Anything this package raises on purpose."""


class StartupError(ServiceError):
    """The server cannot start."""


class RepositoryError(StartupError):
    """There is no repository, it is empty, nothing in it can be served, or the default model is not in it."""


class BackendUnavailableError(StartupError):
    """The backend or device asked for cannot be had here."""


class TracingUnavailableError(StartupError):
    """The environment names a collector of traces, but what sends them is not installed."""


class ImageSettingError(StartupError):
    """The resizer, ICC or JPEG_SCALING is unknown, or the resizer is not installed."""


class AddressError(StartupError):
    """The host and port cannot be bound."""


class RefusalError(ServiceError):
    """One artifact cannot be served."""


class MisplacedArtifactError(RefusalError):
    """The artifact's directories and its manifest disagree about model, variant or version."""


class ChangedFilesError(RefusalError):
    """The artifact's files changed while they were read, or since what is to be restarted was loaded from them."""


class TaskError(RefusalError):
    """The artifact's task is not that of the other variants of its model."""


class LoadTimeoutError(RefusalError):
    """Verifying, opening and warming the artifact took longer than LOAD_TIMEOUT."""


class GoldenError(RefusalError):
    """A backend's logits of the golden images are too far from the network's."""


class GraphError(RefusalError):
    """A backend cannot run the graph, or the graph does not have the input and output of the manifest."""


class ProblemError(ServiceError):
    """An error answer; `detail` says what was wrong and what would be right.

    Args:
        detail: for the person who sent the request.
        members: further members of the answer, as RFC 9457 section 3.2 allows.
    """

    status: int
    name: str
    title: str
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class InvalidImageError(ProblemError):
    """The bytes are not an image this service decodes, or they are damaged."""

    status = 400
    name = "not-an-image"
    title = "Not an image"


class IncompleteBodyError(ProblemError):
    """The client went away before its body was complete."""

    status = 400
    name = "incomplete-body"
    title = "Incomplete body"


class WrongEncodingError(ProblemError):
    """The body is not compressed as its Content-Encoding says."""

    status = 400
    name = "wrong-encoding"
    title = "Wrong encoding"


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
    """The body is over the limit. What is left of it is dropped: many clients send all before they read."""

    status = 413
    name = "body-too-large"
    title = "Body too large"


class TooLargeToHoldError(ProblemError):
    """The request needs more memory than the server allows all requests together."""

    status = 413
    name = "too-large-to-hold"
    title = "Too large to hold"


class ImageTooLargeError(ProblemError):
    """The image has more pixels than the limit."""

    status = 413
    name = "too-many-pixels"
    title = "Too many pixels"


class UnsupportedContentTypeError(ProblemError):
    """The body is of a type that holds no image."""

    status = 415
    name = "unsupported-content-type"
    title = "Unsupported content type"


class UnsupportedEncodingError(ProblemError):
    """The body is compressed in a way that is not supported; the header of the answer says what is."""

    status = 415
    name = "unsupported-encoding"
    title = "Unsupported encoding"
    headers = MappingProxyType({"Accept-Encoding": "gzip, deflate"})


class InvalidParameterError(ProblemError):
    """A parameter is unknown, missing, given twice, or has a value that is not allowed."""

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


class UnexpectedError(ProblemError):
    """An exception that nobody foresaw; what it was stands in the log, under the same id.

    Args:
        request_id: of the request.
    """

    status = 500
    name = "unexpected"
    title = "Internal error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed unexpectedly; its log says why under request {request_id}")


class RoutingError(ProblemError):
    """An error that HTTP itself has a name for: nothing is at this address, or not by this method.

    Args:
        status: of HTTP.
        detail: as for every problem.
        headers: of the answer.
    """

    def __init__(self, status: HTTPStatus, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.title = status.phrase
        self.name = self.title.lower().replace(" ", "-")
        self.headers = headers


class RetryLaterError(ProblemError):
    """The same request may well be answered later.

    Args:
        detail: as for every problem.
        retry_after: whole seconds, at least 1.
    """

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.headers = MappingProxyType({"Retry-After": str(retry_after)})


class QueueFullError(RetryLaterError):
    """As much waits as may wait."""

    status = 429
    name = "queue-full"
    title = "Queue full"


class MemoryFullError(RetryLaterError):
    """Other requests hold the memory that this one needs."""

    status = 503
    name = "memory-full"
    title = "Memory full"


class NotReadyError(RetryLaterError):
    """The server is still starting, already stopping, or cannot serve all it should."""

    status = 503
    name = "not-ready"
    title = "Not ready"


class BackendDownError(RetryLaterError):
    """What runs this variant failed, and is being restarted."""

    status = 503
    name = "backend-down"
    title = "Backend down"


class DecodeTimeoutError(ProblemError):
    """Decoding took longer than one request's images may take; the server has abandoned it."""

    status = 504
    name = "decode-timeout"
    title = "Decoding took too long"


class DeadlineError(ProblemError):
    """The time that the client allowed is over."""

    status = 504
    name = "deadline-passed"
    title = "Deadline passed"


class NoVariantFitsError(DeadlineError):
    """`variant=auto`, and every variant takes longer than the client allows."""

    name = "no-variant-fits"
    title = "No variant fits"


class ClientGoneError(ProblemError):
    """The client closed the connection. The status is one that only logs and metrics see, by nginx' convention."""

    status = 499
    name = "client-gone"
    title = "Client gone"
