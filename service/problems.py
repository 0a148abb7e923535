"""Errors as application/problem+json (RFC 9457): ours, FastAPI's validation, routing's 404 and 405, the unexpected."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import InvalidParameterError, ProblemError
from service.schemas import ProblemDocument

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:posbake:problem:"


def install_problems(app: FastAPI) -> None:
    """Make every error the app knows of a problem."""
    app.exception_handler(ProblemError)(_on_problem)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)


def unexpected_problem(request_id: str) -> JSONResponse:
    """Return the answer to an exception nobody foresaw; what it was stands in the log, under the same id."""
    return _problem(
        500,
        "unexpected",
        "Internal error",
        f"the server failed unexpectedly; its log says why under request {request_id}",
        request_id,
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of error answers, for a route's `responses`."""
    content = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return _problem(
        error.status, error.name, error.title, error.detail, request.state.request_id, error.members, error.headers
    )


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
    title = HTTPStatus(error.status_code).phrase
    name = title.lower().replace(" ", "-")
    return _problem(error.status_code, name, title, detail, request.state.request_id, headers=error.headers)


def _problem(
    status: int,
    name: str,
    title: str,
    detail: str,
    request_id: str,
    members: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    document = {
        "type": TYPE_PREFIX + name,
        "title": title,
        "status": status,
        "detail": detail,
        "id": request_id,
        **(members or {}),
    }
    return JSONResponse(document, status, headers, MEDIA_TYPE)
