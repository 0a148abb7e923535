"""Errors of the service. Those with a status from 400 on are in `client_errors`, from 500 on in `server_errors`.

ServiceError
├── StartupError                    the server cannot start; the message is one sentence with the remedy
│   ├── RepositoryError                 no repository, an empty one, nothing usable in it, no such default model
│   ├── BackendUnavailableError         the backend or device is not available
│   ├── TracingUnavailableError         a collector of traces is named, but the exporter is not installed
│   ├── PageUnavailableError            Swagger UI's files, which the API page shows, are not installed
│   ├── ImageSettingError               an unknown setting of image reading, or its resizer is not available
│   ├── AccessSettingError              settings of access that contradict each other, or an unusable file of keys
│   ├── ProcessesError                  several processes where only one can be
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
    ├── RoutingError                    404, 405: HTTP's own
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
    """Base of all errors that this package raises."""


class StartupError(ServiceError):
    """The server cannot start."""


class RepositoryError(StartupError):
    """There is no repository, it is empty, nothing in it can be served, or the default model is not in it."""


class BackendUnavailableError(StartupError):
    """The requested backend or device is not available."""


class TracingUnavailableError(StartupError):
    """The environment names a collector of traces, but the exporter is not installed."""


class PageUnavailableError(StartupError):
    """Swagger UI's files, which the API page needs, are not installed."""


class ImageSettingError(StartupError):
    """The resizer, ICC or JPEG_SCALING is unknown, or the resizer is not installed."""


class AccessSettingError(StartupError):
    """A setting of access makes no sense, or the file of keys cannot be read or holds what is not a key."""


class ProcessesError(StartupError):
    """Several processes were asked for where only one can be."""


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
    """An error answer; `detail` has what was found and what was expected.

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


class RetryLaterError(ProblemError):
    """An error after which the same request may succeed.

    Args:
        detail: as for every problem.
        retry_after: whole seconds, at least 1.
    """

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.headers = MappingProxyType({"Retry-After": str(retry_after)})
