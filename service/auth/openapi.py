"""Security schemes and refusals in the OpenAPI document."""

from typing import Any

from fastapi import FastAPI

from service.auth.gate import is_open
from service.problems.openapi import problem_responses

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document_keys(app: FastAPI) -> None:
    """Add the two security schemes and the refusals to every operation that needs a key."""
    plain = app.openapi

    def with_keys() -> dict[str, Any]:
        made_before = app.openapi_schema is not None
        document = plain()
        if not made_before:
            _add_keys(document)
        return document

    app.openapi = with_keys  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _add_keys(document: dict[str, Any]) -> None:
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    problems = {str(status): response for status, response in problem_responses(401, 429).items()}
    reference = {"$ref": "#/components/schemas/ErrorDocument"}
    errors = {
        status: {**response, "content": {"application/json": {"schema": reference}}}
        for status, response in problems.items()
    }
    for path, operations in document["paths"].items():
        if is_open(path):
            continue
        refusals = errors if path.startswith("/v2") else problems
        for operation in operations.values():
            operation["security"] = [{scheme: []} for scheme in _SCHEMES]
            operation["responses"] = {**refusals, **operation["responses"]}
