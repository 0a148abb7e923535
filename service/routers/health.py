"""/health: is the process alive, and may it get requests."""

from fastapi import APIRouter

from service.problems.openapi import problem_responses
from service.schemas import Health
from service.serving import Ready

router = APIRouter(prefix="/health", tags=["operation"])


@router.get("/live", summary="Whether the process answers at all")
async def live() -> Health:
    """Always 200."""
    return Health(status="live")


@router.get("/ready", summary="Whether every variant is loaded, warm and well", responses=problem_responses(503))
async def ready(serving: Ready) -> Health:
    """200 from when all is warm until the server stops, but 503 while a backend is being restarted."""
    serving.check()
    return Health(status="ready")
