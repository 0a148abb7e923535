"""Files of an artifact for display: baked constants, sample images."""

from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from artifact import read_member
from artifact.errors import ArtifactError
from artifact.manifest import constant_file, sample_file
from artifact.text import quoted
from service.catalogue.catalogue import Servable
from service.problems.client_errors import UnknownNameError
from service.problems.openapi import problem_responses
from service.problems.server_errors import ArtifactChangedError
from service.serving import Ready
from service.telemetry.record import record_of
from service.transport.etags import tagged
from service.transport.pages import page_headers
from service.transport.routes import KnownQueryRoute

router = APIRouter(prefix="/v1/models/{model}/variants/{variant}", tags=["models"], route_class=KnownQueryRoute)

Version = Annotated[int | None, Query(ge=1, description="default: the newest")]

ARRAY = "application/octet-stream"
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def _responses(*types: str) -> dict[int | str, dict[str, Any]]:
    """Return the documented responses of a file in one of several media types."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in types}
    return {
        200: {"description": "The file; its ETag is a hash of the content", "content": content},
        304: {"description": "If-None-Match contains its ETag"},
        **problem_responses(404, 422, 500, 503),
    }


@router.get("/baked/{name}", summary="One baked constant", response_class=Response, responses=_responses(ARRAY))
async def constant(
    request: Request, serving: Ready, model: str, variant: str, name: str, version: Version = None
) -> Response:
    """Constant of the position encoding, by its name in `constants` of the variant: NumPy's .npy, little-endian
    float16 [heads, rows, columns]. For a bias with several windows, the first one that is not zero.
    """
    servable = serving.catalogue.find(model, variant, version)
    constants = servable.manifest.constants
    known = [] if constants is None else [line.name for line in constants.lines]
    return await _answer(request, servable, name, known, constant_file(name), ARRAY)


@router.get(
    "/samples/{name}", summary="One sample image", response_class=Response, responses=_responses(*PICTURES.values())
)
async def sample(
    request: Request, serving: Ready, model: str, variant: str, name: str, version: Version = None
) -> Response:
    """Sample image, by its name in `samples` of the variant."""
    servable = serving.catalogue.find(model, variant, version)
    media_type = PICTURES.get(PurePosixPath(name).suffix, ARRAY)
    return await _answer(request, servable, name, servable.manifest.samples or (), sample_file(name), media_type)


async def _answer(
    request: Request, servable: Servable, name: str, known: list[str] | tuple[str, ...], file: str, media_type: str
) -> Response:
    """Return a file of the artifact after verifying its hash.

    Raises:
        UnknownNameError: the name is unknown.
        ArtifactChangedError: the file has changed since the artifact was loaded.
        MemoryFullError: the file does not fit into the memory for requests now.
    """
    if name not in known:
        raise UnknownNameError(f"{servable.key} has no {file.partition('/')[0]} named {quoted(name)}", known)
    record_of(request.scope).memory.grow(servable.manifest.files[file].size)
    try:
        content = await run_in_threadpool(read_member, servable.artifact, file)
    except ArtifactError as error:
        raise ArtifactChangedError(
            f"{file} of {servable.key} has changed since it was loaded; load it again"
        ) from error
    return tagged(request, content, servable.manifest.files[file].sha256, media_type, page_headers())
