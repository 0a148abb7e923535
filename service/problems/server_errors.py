"""Errors with a status from 500 on: the same request may succeed later, or on another server."""

from service.problems.errors import ProblemError, RetryLaterError


class InferenceError(ProblemError):
    """The network failed, or its output is not finite."""

    status = 500
    name = "inference-failed"
    title = "Inference failed"


class UnexpectedError(ProblemError):
    """An unexpected exception; the log has its traceback under the id of the request.

    Args:
        request_id: request id of the request.
    """

    status = 500
    name = "unexpected"
    title = "Internal error"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the server failed unexpectedly; its log says why under request {request_id}")


class ArtifactChangedError(ProblemError):
    """A file of an artifact is no longer what it was when the artifact was loaded."""

    status = 500
    name = "artifact-changed"
    title = "Artifact changed"


class MemoryFullError(RetryLaterError):
    """Other requests hold the memory that this one needs."""

    status = 503
    name = "memory-full"
    title = "Memory full"


class NotReadyError(RetryLaterError):
    """The server is starting, stopping, or cannot serve all that it should."""

    status = 503
    name = "not-ready"
    title = "Not ready"


class BackendDownError(RetryLaterError):
    """The backend of this variant failed, and is being restarted."""

    status = 503
    name = "backend-down"
    title = "Backend down"


class ConnectionsFullError(RetryLaterError):
    """As many connections are open as MAX_CONNECTIONS allows."""

    status = 503
    name = "connections-full"
    title = "Connections full"


class RepositoryUnreadableError(RetryLaterError):
    """The repository cannot be listed, or has become empty."""

    status = 503
    name = "repository-unreadable"
    title = "Repository unreadable"


class DecodeTimeoutError(ProblemError):
    """Decoding took longer than one request's images may take; the server has abandoned it."""

    status = 504
    name = "decode-timeout"
    title = "Decoding took too long"


class DeadlineError(ProblemError):
    """The deadline of the request has passed."""

    status = 504
    name = "deadline-passed"
    title = "Deadline passed"


class NoVariantFitsError(DeadlineError):
    """`variant=auto`, and every variant takes longer than the client allows."""

    name = "no-variant-fits"
    title = "No variant fits"
