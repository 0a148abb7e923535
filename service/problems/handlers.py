"""FastAPI exception handlers for the service's errors, validation errors, and routing's 404 and 405."""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from artifact.text import shown
from service.problems.client_errors import InvalidParameterError, RoutingError
from service.problems.errors import ProblemError
from service.problems.rendering import error_answer, path_of


class ErrorRecord(Protocol):
    """Part of a request's record that error handlers set."""

    request_id: str
    problem: str | None
    """Name of the error in the response."""


def install_handlers(app: FastAPI, record_of: Callable[[Scope], ErrorRecord]) -> None:
    """Install handlers that render errors in the form of the path (see `service.problems.rendering`).

    Args:
        app: the app.
        record_of: returns the record of a request.
    """

    def answer(request: Request, error: ProblemError) -> JSONResponse:
        record = record_of(request.scope)
        record.problem = error.name
        return error_answer(error, path_of(request.scope), record.request_id)

    async def on_problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ProblemError)
        return answer(request, error)

    async def on_validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(request, invalid_parameters(error.errors()))

    async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return answer(request, _routing_error(request, error))

    app.exception_handler(ProblemError)(on_problem)
    app.exception_handler(RequestValidationError)(on_validation_error)
    app.exception_handler(HTTPException)(on_http_exception)


def invalid_parameters(errors: Iterable[Mapping[str, Any]]) -> InvalidParameterError:
    """Return the error of invalid parameters from pydantic's errors."""
    problems = [
        {"parameter": str(problem["loc"][-1]), "problem": problem["msg"], "given": problem.get("input")}
        for problem in errors
    ]
    detail = "; ".join(f"{found['parameter']}={str(found['given'])[:200]}: {found['problem']}" for found in problems)
    return InvalidParameterError(detail, parameters=problems)


def _routing_error(request: Request, error: HTTPException) -> RoutingError:
    detail = {
        404: f"{shown(request.url.path)} does not exist; /docs lists the endpoints",
        405: f"{request.method} is not allowed on {shown(request.url.path)}; /docs lists the allowed methods",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    allowed = set(headers.get("Allow", "").split(", "))
    if "GET" in allowed:
        headers["Allow"] = ", ".join(sorted(allowed | {"HEAD"}))  # see service/transport/heads.py
    return RoutingError(HTTPStatus(error.status_code), detail, headers)
