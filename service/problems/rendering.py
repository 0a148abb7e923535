"""Errors as application/problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from service.problems.errors import ProblemError
from service.schemas import ProblemDocument

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:posbake:problem:"


def problem_of(error: ProblemError, request_id: str) -> JSONResponse:
    """Return the answer to an error of ours."""
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


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of error answers, for a route's `responses`."""
    content = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
