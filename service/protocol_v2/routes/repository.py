"""/v2/repository: index; load and unload for admins."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.auth.admin import AdminOnly
from service.inputs.body import read_body
from service.inputs.encodings import expander
from service.problems.client_errors import ProtocolError
from service.problems.openapi import error_responses
from service.protocol_v2.documents import D, IndexEntry, IndexRequest, LoadRequest, read_document
from service.protocol_v2.messages import shown
from service.protocol_v2.repository_index import index_of
from service.protocol_v2.routes.addresses import PREFIX, TAGS, inlined_schema
from service.reloading.reloader import Reloader
from service.serving import Ready, serving_of

MAX_BODY_BYTES = 65_536

_OVERRIDES = ("config", "file:")

router = APIRouter(prefix=PREFIX, tags=TAGS)


def _optional(document: type[BaseModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": inlined_schema(document)}}
    return {"requestBody": {"required": False, "content": content}}


@router.post(
    "/repository/index",
    summary="Every version in the repository",
    response_model_exclude_none=True,
    responses=error_responses(400, 413, 415, 503),
    openapi_extra=_optional(IndexRequest),
)
async def index(request: Request, serving: Ready) -> list[IndexEntry]:
    """State of each model in the repository, with the reason if it is not served."""
    document = await _read(request, IndexRequest)
    return index_of(serving.catalogue, serving.engine.restarting(), only_ready=document.ready)


@router.post(
    "/repository/models/{name}/load",
    summary="Load a model from the repository",
    response_class=Response,
    dependencies=[AdminOnly],
    responses=error_responses(400, 403, 404, 413, 415, 422, 503),
    openapi_extra=_optional(LoadRequest),
)
async def load(name: str, request: Request) -> None:
    """Includes versions that were unloaded, refused or are failing. `name` is `<model>` or `<model>@<variant>`."""
    await _reloader(request, await _read(request, LoadRequest)).load(name)


@router.post(
    "/repository/models/{name}/unload",
    summary="Unload a model",
    response_class=Response,
    dependencies=[AdminOnly],
    responses=error_responses(400, 403, 404, 413, 415, 503),
    openapi_extra=_optional(LoadRequest),
)
async def unload(name: str, request: Request) -> None:
    """Valid until it is loaded again. Requests in flight are answered. `name` is `<model>` or `<model>@<variant>`."""
    await _reloader(request, await _read(request, LoadRequest)).unload(name)


async def _read(request: Request, document: type[D]) -> D:
    """Parse the optional body."""
    expand = expander(request, MAX_BODY_BYTES)
    body = await read_body(request, MAX_BODY_BYTES)
    if expand is not None:
        body = expand(body)
    return read_document(document, body if body not in (b"", b"null") else b"{}", "a JSON object, or no body")


def _reloader(request: Request, document: LoadRequest) -> Reloader:
    """Return the reloader.

    Raises:
        ProtocolError: the request has another configuration or other files, or the service has several processes.
        NotReadyError: the server is starting or stopping.
    """
    if serving_of(request.app.state).shared is not None:
        raise ProtocolError(
            "this service has several processes, and a request reaches only one; change the repository instead: all "
            "processes scan it within RELOAD_SECONDS"
        )
    overrides = [name for name in document.parameters if name.startswith(_OVERRIDES)]
    if overrides:
        raise ProtocolError(f"{shown(overrides[0])} is not supported; an artifact is served as it was exported")
    reloader: Reloader = request.app.state.reloader
    return reloader
