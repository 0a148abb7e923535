"""Registration of endpoints under a model's two paths, with and without a version."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel

PREFIX = "/v2"
TAGS: list[str | Enum] = ["Open Inference Protocol v2"]

E = TypeVar("E", bound=Callable[..., Any])


def on_model(
    router: APIRouter,
    method: str,
    suffix: str,
    extra: Mapping[str, Any] = MappingProxyType({}),
    parameters: Sequence[dict[str, Any]] = (),
    **options: Any,  # noqa: ANN401 -- FastAPI's
) -> Callable[[E], E]:
    """Return a decorator that registers an endpoint under the paths of a model and of its versions.

    Args:
        router: router of the endpoint.
        method: HTTP method.
        suffix: path after the name or the version.
        extra: further members of the operation in OpenAPI.
        parameters: parameters of the operation in OpenAPI, besides those in the path.
        options: further options of FastAPI's `add_api_route`.
    """
    name = _parameter("name", "<model>, for its default variant, or <model>@<variant>")
    version = _parameter("version", "version of the variant, an integer")

    def register(endpoint: E) -> E:
        for path, of_path in (("/models/{name}", [name]), ("/models/{name}/versions/{version}", [name, version])):
            documented = {**extra, "parameters": [*of_path, *parameters]}
            router.add_api_route(path + suffix, endpoint, methods=[method], openapi_extra=documented, **options)
        return endpoint

    return register


def inlined_schema(document: type[BaseModel]) -> dict[str, Any]:
    """Return a document's JSON Schema without references, which `openapi_extra` does not support."""
    schema = document.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(node: object) -> object:
        if isinstance(node, dict):
            if "$ref" in node:
                return inlined(definitions[node["$ref"].rpartition("/")[2]])
            return {key: inlined(value) for key, value in node.items()}
        return [inlined(item) for item in node] if isinstance(node, list) else node

    found = inlined(schema)
    assert isinstance(found, dict)
    return found


def _parameter(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}
