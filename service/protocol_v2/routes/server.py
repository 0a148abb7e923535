"""/v2 and /v2/health: metadata, liveness and readiness of the server."""

from fastapi import APIRouter, Request

from service.problems.openapi import error_responses
from service.protocol_v2.documents import Live, Readiness, ServerMetadata
from service.protocol_v2.routes.addresses import PREFIX, TAGS
from service.serving import Ready

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]

router = APIRouter(prefix=PREFIX, tags=TAGS)


@router.get("", summary="The server's name, version and extensions")
async def server(request: Request) -> ServerMetadata:
    """Server metadata."""
    return ServerMetadata(name="posbake", version=request.app.version, extensions=EXTENSIONS)


@router.get("/health/live", summary="Liveness of the process")
async def live() -> Live:
    """Always 200."""
    return Live(live=True)


@router.get("/health/ready", summary="Readiness of the server", responses=error_responses(503))
async def ready(serving: Ready) -> Readiness:
    """200 while every model is loaded and warm; 503 while starting, stopping, or a backend is being restarted."""
    serving.check()
    return Readiness(ready=True)
