"""/metrics: Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from service.serving import Serving
from service.telemetry.families import VersionState
from service.telemetry.metrics import Metrics

router = APIRouter(tags=["operation"])


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Stages, requests, rejections, queues, batches, loads, restarts; GPUs where there are any. For what is served."""
    found: Metrics = request.app.state.metrics
    serving: Serving | None = request.app.state.serving
    versions: list[VersionState] = []
    decoding = 0
    if serving is not None:
        versions, decoding = _versions(serving), serving.engine.decoding
        found.keep_only({version.key for version in versions})
    text = await run_in_threadpool(found.text, versions, decoding)  # takes long with many versions
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _versions(serving: Serving) -> list[VersionState]:
    states = []
    for servable in serving.catalogue.servables():
        load = serving.engine.load(servable)
        states.append(
            VersionState(
                key=servable.key,
                queued=load.admitted,
                running=load.running,
                batches=load.batches,
                restarts=load.restarts,
                down=load.down,
                load_seconds=servable.load_seconds,
                backend=servable.backend.name,
                precision=servable.backend.precision,
            )
        )
    return states
