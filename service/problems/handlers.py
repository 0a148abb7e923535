"""Every error that the app knows of becomes an answer, in the form that its address asks for."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.problems.client_errors import InvalidParameterError, RoutingError
from service.problems.errors import ProblemError
from service.problems.rendering import error_answer, path_of


def install_handlers(app: FastAPI) -> None:
    """Answer our own errors, FastAPI's of validation, and routing's 404 and 405."""
    app.exception_handler(ProblemError)(_on_problem)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    request.state.problem = error.name  # for the metrics
    return error_answer(error, path_of(request.scope), request.state.request_id)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"parameter": str(problem["loc"][-1]), "problem": problem["msg"], "given": problem.get("input")}
        for problem in error.errors()
    ]
    detail = "; ".join(f"{problem['parameter']}={problem['given']}: {problem['problem']}" for problem in problems)
    return await _on_problem(request, InvalidParameterError(detail, parameters=problems))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"nothing is at {request.url.path}; /docs lists what there is",
        405: f"{request.method} is not allowed on {request.url.path}; /docs lists what is",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    allowed = set(headers.get("Allow", "").split(", "))
    if "GET" in allowed:
        headers["Allow"] = ", ".join(sorted(allowed | {"HEAD"}))  # see service/transport/heads.py
    return await _on_problem(request, RoutingError(HTTPStatus(error.status_code), detail, headers))
