"""What is answered when what is served cannot be changed as asked."""

from service.problems.errors import ProblemError, RetryLaterError


class LoadRefusedError(ProblemError):
    """What was to be loaded cannot be served."""

    status = 422
    name = "load-refused"
    title = "Load refused"


class RepositoryUnreadableError(RetryLaterError):
    """The repository cannot be listed, or has become empty."""

    status = 503
    name = "repository-unreadable"
    title = "Repository unreadable"
