"""/health: liveness and readiness of the process."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from service.problems.openapi import problem_responses
from service.serving import Ready

router = APIRouter(prefix="/health", tags=["operation"])


class Health(BaseModel):
    """The state of this process."""

    model_config = ConfigDict(frozen=True)

    status: str


@router.get("/live", summary="Whether the process answers at all")
async def live() -> Health:
    """Always 200."""
    return Health(status="live")


@router.get("/ready", summary="Whether every variant is loaded, warm and well", responses=problem_responses(503))
async def ready(serving: Ready) -> Health:
    """200 from when all is warm until the server stops, but 503 while a backend is being restarted."""
    serving.check()
    return Health(status="ready")
