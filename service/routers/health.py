"""/health: liveness and readiness of the process."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from service.problems.openapi import problem_responses
from service.serving import Ready

router = APIRouter(prefix="/health", tags=["operation"])


class Health(BaseModel):
    """State of this process."""

    model_config = ConfigDict(frozen=True)

    status: str


@router.get("/live", summary="Liveness of the process")
async def live() -> Health:
    """Always 200."""
    return Health(status="live")


@router.get("/ready", summary="Readiness of the server", responses=problem_responses(503))
async def ready(serving: Ready) -> Health:
    """200 while every variant is loaded and warm; 503 while starting, stopping, or a backend is being restarted."""
    serving.check()
    return Health(status="ready")
