"""Errors of the service. Those with a status from 400 on are in `client_errors`, from 500 on in `server_errors`.

ServiceError
├── StartupError                    the server cannot start; the message is one sentence with the remedy
│   ├── RepositoryError                 the repository is missing, empty or has no usable artifact, or its default model
│   │                                   is unknown
│   ├── BackendUnavailableError         the backend or device is not available
│   ├── TracingUnavailableError         a trace collector is set, but the exporter is not installed or has an invalid
│   │                                   setting
│   ├── PageUnavailableError            Swagger UI's files, which the API page needs, are not installed
│   ├── ImageSettingError               a setting of image reading is unknown, or the resizer is not available
│   ├── AccessSettingError              settings of authentication contradict each other, or the file of keys is invalid
│   ├── ProcessesError                  several processes where only one is supported
│   ├── ThreadsError                    the system does not allow as many threads as THREADS
│   └── AddressError                    the host and port cannot be bound
├── RefusalError                    one artifact cannot be served
│   ├── MisplacedArtifactError          its directories and its manifest have different names
│   ├── ChangedFilesError               its files changed while they were read, or since it was loaded
│   ├── TaskError                       its task differs from that of its model's other variants
│   ├── ShortageError                   memory, open files, threads or disk space are short; it may pass
│   ├── LoadTimeoutError                verifying, opening and warming it took longer than LOAD_TIMEOUT
│   ├── GoldenError                     a backend does not reproduce the logits of its golden file
│   └── GraphError                      a backend cannot run its graph, or the graph does not match the manifest
└── ProblemError                    an error response, RFC 9457
    ├── InvalidImageError               400
    ├── IncompleteBodyError             400
    ├── WrongEncodingError              400
    ├── MalformedRequestError           400, closes the connection
    ├── ProtocolError                   400, of the Open Inference Protocol
    ├── KeyRequiredError                401, with WWW-Authenticate
    ├── AdminRequiredError              403
    ├── UnknownNameError                404, with `known`
    ├── RequestTimeoutError             408, closes the connection
    ├── BodyTooLargeError               413, with `limit`
    ├── TooLargeToHoldError             413, with `limit`
    ├── ImageTooLargeError              413, with `limit`
    ├── UnsupportedContentTypeError     415, with `supported`
    ├── UnsupportedEncodingError        415, with Accept-Encoding
    ├── InvalidParameterError           422
    ├── InvalidBodyError                422
    ├── LoadRefusedError                422
    ├── HeadTooLargeError               431, closes the connection
    ├── ClientGoneError                 499, in logs and metrics only
    ├── InferenceError                  500
    ├── UnexpectedError                 500
    ├── DecodeTimeoutError              504
    ├── DeadlineError                   504
    │   └── NoVariantFitsError              504, with `considered`
    ├── ArtifactChangedError            500
    ├── RoutingError                    404, 405
    └── RetryLaterError                 with Retry-After
        ├── QueueFullError                  429
        ├── RateLimitedError                429
        ├── MemoryFullError                 503
        ├── NotReadyError                   503
        ├── BackendDownError                503
        ├── RepositoryUnreadableError       503
        └── ConnectionsFullError            503, closes the connection
"""

from collections.abc import Mapping
from types import MappingProxyType


class ServiceError(Exception):
    """Base class of this package's errors."""


class StartupError(ServiceError):
    """The server cannot start."""


class RepositoryError(StartupError):
    """The repository is missing or empty, has no usable artifact, or lacks the default model."""


class BackendUnavailableError(StartupError):
    """The requested backend or device is not available."""


class TracingUnavailableError(StartupError):
    """The environment sets a trace collector, but the exporter is not installed, or has an invalid setting."""


class PageUnavailableError(StartupError):
    """Swagger UI's files, which the API page needs, are not installed."""


class ImageSettingError(StartupError):
    """The resizer, ICC or JPEG_SCALING is unknown, or the resizer is not installed."""


class AccessSettingError(StartupError):
    """A setting of authentication is invalid, or the file of keys cannot be read or is invalid."""


class ProcessesError(StartupError):
    """Several processes were requested where only one is supported."""


class ThreadsError(StartupError):
    """The system does not allow as many threads as THREADS."""


class AddressError(StartupError):
    """The host and port cannot be bound."""


class RefusalError(ServiceError):
    """One artifact cannot be served."""


class MisplacedArtifactError(RefusalError):
    """The artifact's directories and its manifest have different names."""


class ChangedFilesError(RefusalError):
    """The artifact's files changed while they were read, or since it was loaded."""


class TaskError(RefusalError):
    """The artifact's task differs from that of its model's other variants."""


class ShortageError(RefusalError):
    """Memory, open files, threads or disk space are too short to load the artifact; this may pass."""


class LoadTimeoutError(RefusalError):
    """Verifying, opening and warming the artifact took longer than LOAD_TIMEOUT."""


class GoldenError(RefusalError):
    """A backend's logits of the golden images differ too much from the network's."""


class GraphError(RefusalError):
    """A backend cannot run the graph, or the graph's input or output does not match the manifest."""


class ProblemError(ServiceError):
    """Error response; `detail` states what was found and what was expected.

    Args:
        detail: message for the client.
        members: further members of the response (RFC 9457, section 3.2).
    """

    status: int
    name: str
    title: str
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


class RetryLaterError(ProblemError):
    """Error after which the same request may succeed later.

    Args:
        detail: as for every problem.
        retry_after: whole seconds, at least 1.
    """

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.headers = MappingProxyType({"Retry-After": str(retry_after)})
