"""Rendering of errors: `{"error": …}` under /v2, application/problem+json (RFC 9457) elsewhere."""

from fastapi.responses import JSONResponse
from starlette.types import Scope

from service.problems.errors import ProblemError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:posbake:problem:"


def error_answer(error: ProblemError, path: str, request_id: str) -> JSONResponse:
    """Render `error` in the form of the protocol at `path`."""
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": error.detail}, error.status, error.headers)
    return problem_of(error, request_id)


def problem_of(error: ProblemError, request_id: str) -> JSONResponse:
    """Render `error` as problem+json."""
    document = {
        "type": type_of(error),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "id": request_id,
        **error.members,
    }
    return JSONResponse(document, error.status, error.headers, MEDIA_TYPE)


def type_of(error: ProblemError) -> str:
    """Return the `type` of an error's problem."""
    return TYPE_PREFIX + error.name


def path_of(scope: Scope) -> str:
    """Return the path without the prefix of a proxy, as routes see it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root)
