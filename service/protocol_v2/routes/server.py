"""/v2 and /v2/health: the server itself."""

from fastapi import APIRouter, Request

from service.problems.openapi import error_responses
from service.protocol_v2.documents import Live, Readiness, ServerMetadata
from service.protocol_v2.routes.addresses import PREFIX, TAGS
from service.serving import Ready

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]

router = APIRouter(prefix=PREFIX, tags=TAGS)


@router.get("", summary="The server's name, version and extensions")
async def server(request: Request) -> ServerMetadata:
    """Server metadata, as Triton's clients name it."""
    return ServerMetadata(name="posbake", version=request.app.version, extensions=EXTENSIONS)


@router.get("/health/live", summary="Whether the process answers at all")
async def live() -> Live:
    """Always 200."""
    return Live(live=True)


@router.get("/health/ready", summary="Whether every model is loaded, warm and well", responses=error_responses(503))
async def ready(serving: Ready) -> Readiness:
    """200 from when all is warm until the server stops, but 503 while a backend is being restarted."""
    serving.check()
    return Readiness(ready=True)
