"""Errors with a status from 500 on: the same request may succeed later, or on another server."""

from service.problems.errors import ProblemError, RetryLaterError


class InferenceError(ProblemError):
    """The network failed, or its output is not finite."""

    status = 500
    name = "inference-failed"
    title = "Inference failed"


class UnexpectedError(ProblemError):
    """Unexpected exception; the log has its traceback under the request id.

    Args:
        request_id: request id of the request.
    """

    status = 500
    name = "unexpected"
    title = "Internal error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed unexpectedly; see its log for request {request_id}")


class ArtifactChangedError(ProblemError):
    """A file of an artifact has changed since the artifact was loaded."""

    status = 500
    name = "artifact-changed"
    title = "Artifact changed"


class MemoryFullError(RetryLaterError):
    """Other requests use the memory that this one needs."""

    status = 503
    name = "memory-full"
    title = "Memory full"


class NotReadyError(RetryLaterError):
    """The server is starting, stopping, or cannot serve all of its versions."""

    status = 503
    name = "not-ready"
    title = "Not ready"


class BackendDownError(RetryLaterError):
    """The backend of this variant failed, and is being restarted."""

    status = 503
    name = "backend-down"
    title = "Backend down"


class ConnectionsFullError(RetryLaterError):
    """The number of open connections has reached MAX_CONNECTIONS."""

    status = 503
    name = "connections-full"
    title = "Connections full"


class RepositoryUnreadableError(RetryLaterError):
    """The repository cannot be listed, or has become empty."""

    status = 503
    name = "repository-unreadable"
    title = "Repository unreadable"


class DecodeTimeoutError(ProblemError):
    """Decoding exceeded its time limit and was abandoned."""

    status = 504
    name = "decode-timeout"
    title = "Decoding took too long"


class DeadlineError(ProblemError):
    """The deadline of the request has passed."""

    status = 504
    name = "deadline-passed"
    title = "Deadline passed"


class NoVariantFitsError(DeadlineError):
    """With `variant=auto`, every variant is slower than the client's deadline."""

    name = "no-variant-fits"
    title = "No variant fits"
