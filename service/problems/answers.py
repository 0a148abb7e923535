"""The one place that chooses the form of an error: `{"error": …}` under /v2, problem+json everywhere else."""

from fastapi.responses import JSONResponse
from starlette.types import Scope

from service.problems.errors import ProblemError
from service.problems.rendering import problem_of


def error_answer(error: ProblemError, path: str, request_id: str) -> JSONResponse:
    """Return the answer to `error`, in the form that the protocol at `path` asks for."""
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": error.detail}, error.status, error.headers)
    return problem_of(error, request_id)


def path_of(scope: Scope) -> str:
    """Return the path that routes see: without the prefix under which a proxy mounts the app."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root)
