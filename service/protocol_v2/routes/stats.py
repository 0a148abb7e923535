"""/v2/models/stats: counts and times of models by batch size."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from service.catalogue.catalogue import Servable
from service.problems.openapi import error_responses
from service.protocol_v2.model_name import Chosen
from service.protocol_v2.routes.addresses import PREFIX, TAGS, on_model
from service.protocol_v2.statistics import model_statistics
from service.serving import Ready, Serving
from service.telemetry.statistics import Counts, total

router = APIRouter(prefix=PREFIX, tags=TAGS)


@router.get("/models/stats", summary="Statistics of all models", responses=error_responses(503))
async def all_stats(serving: Ready) -> dict[str, list[dict[str, Any]]]:
    """Counts, and times in ns, since the start, including requests under /v1."""
    return await _stats(serving, serving.catalogue.servables())


@on_model(router, "GET", "/stats", summary="Statistics of one model", responses=error_responses(404, 503))
async def model_stats(request: Request, serving: Ready, servable: Chosen) -> dict[str, list[dict[str, Any]]]:
    """Counts, and times in ns, since the start, including requests under /v1; of all versions if none is named."""
    key = servable.key
    named = "version" in request.path_params
    return await _stats(serving, [servable] if named else serving.catalogue.versions(key.model, key.variant))


async def _stats(serving: Serving, servables: list[Servable]) -> dict[str, list[dict[str, Any]]]:
    others = {} if serving.shared is None else (await run_in_threadpool(serving.shared.others)).statistics
    own = serving.metrics.statistics
    keys = [servable.key for servable in servables]
    counts = [total([own.counts(key), others.get(key, Counts())]) for key in keys]
    return {"model_stats": [model_statistics(key, found) for key, found in zip(keys, counts, strict=True)]}
