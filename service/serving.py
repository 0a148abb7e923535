"""What the routers work with, once the server is ready."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.catalogue import Catalogue
from service.errors import NotReadyError
from service.settings import Settings
from service.telemetry.latency import LatencyRecorder
from service.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Serving:
    """The parts of a ready server."""

    settings: Settings
    catalogue: Catalogue
    workers: Executor
    latency: LatencyRecorder
    metrics: Metrics


def _serving(request: Request) -> Serving:
    serving: Serving | None = request.app.state.serving
    if serving is None:
        raise NotReadyError("the server is starting or stopping; ask /health/ready")
    return serving


Ready = Annotated[Serving, Depends(_serving)]
"""A router's parameter of this type answers 503 until the server is ready."""
