"""/metrics: Prometheus metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from service.processes.snapshot import merged, only
from service.serving import Serving
from service.telemetry.metrics import Metrics, text_of

router = APIRouter(tags=["operation"])


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Stages, requests, refusals, queues, batches, loads and restarts of served versions, and GPUs."""
    found: Metrics = request.app.state.metrics
    serving: Serving | None = request.app.state.serving
    if serving is None:
        return _answer(await run_in_threadpool(lambda: text_of(found.families([], 0))))
    states, decoding = serving.version_states(), serving.engine.decoding
    keys = {state.key for state in states}
    found.keep_only(keys)

    def text() -> bytes:
        families = found.families(states, decoding)
        if serving.shared is not None:
            families = only(merged([families, serving.shared.others().families]), keys)
        return text_of(families)

    return _answer(await run_in_threadpool(text))  # takes long with many versions


def _answer(text: bytes) -> Response:
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
