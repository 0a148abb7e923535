"""/v1/latency: latency of responses, over the last minute and since the start."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from service.catalogue.catalogue import Catalogue, Servable
from service.problems.openapi import problem_responses
from service.processes.snapshot import Snapshot
from service.scheduling.engine import Load
from service.schemas import Document
from service.serving import Ready, Serving
from service.telemetry.latency import NO_ANSWERS, RECENT_SECONDS, LatencySummary
from service.transport.routes import KnownQueryRoute

router = APIRouter(prefix="/v1", tags=["models"], route_class=KnownQueryRoute)


class StageLatency(Document):
    """Latency of one stage, in ms."""

    mean: float
    p50: float = Field(description="median, exact to 1.6 %")
    p90: float
    p95: float
    p99: float


class RecentLatency(Document):
    """Latency of the responses of the last minute."""

    count: int = Field(description="answers")
    stages: dict[str, StageLatency] = Field(description="by stage, and `total`; empty without responses")


class VersionLatency(Document):
    """Latency of a version's responses."""

    model: str
    variant: str
    version: int
    count: int = Field(description="number of responses since the start")
    stages: dict[str, StageLatency] = Field(description="since the start, by stage, and `total`; empty if no responses")
    recent: RecentLatency
    queued: int = Field(description="number of images that wait")
    running: int = Field(description="number of images in the current batch")
    rejected: int = Field(description="number of requests with an error since the start, such as a full queue")


class LatencyReport(Document):
    """Latency of classifications."""

    recent_seconds: int = Field(description="length of `recent`, with a resolution of 5 s")
    versions: list[VersionLatency]


@router.get("/latency", summary="Latency of every stage", responses=problem_responses(404, 422, 503))
async def latency(
    serving: Ready,
    model: Annotated[str | None, Query(description="only this model")] = None,
    variant: Annotated[str | None, Query(description="only variants of this name")] = None,
) -> LatencyReport:
    """Count, mean and percentiles in ms, for each version of each variant: of the last minute and since the start.

    Every response counts, including each variant of a comparison, where variants wait for each other. Percentiles are
    exact to 1.6 %. Queues and refusals are those of /metrics.
    """
    chosen = _chosen(serving.catalogue, model, variant)
    loads = [serving.engine.load(servable) for servable in chosen]  # event loop only
    return await run_in_threadpool(_report, serving, chosen, loads)


def _report(serving: Serving, chosen: list[Servable], loads: list[Load]) -> LatencyReport:
    others = Snapshot() if serving.shared is None else serving.shared.others()
    versions = [_version(serving, others, servable, load) for servable, load in zip(chosen, loads, strict=True)]
    return LatencyReport(recent_seconds=RECENT_SECONDS, versions=versions)


def _version(serving: Serving, others: Snapshot, servable: Servable, load: Load) -> VersionLatency:
    key = servable.key
    always = (serving.latency.counts(key) + others.latency.get(key, NO_ANSWERS)).summary()
    recent = (serving.latency.recent_counts(key) + others.recent.get(key, NO_ANSWERS)).summary()
    return VersionLatency(
        **asdict(key),
        count=always.count,
        stages=_stages(always),
        recent=RecentLatency(count=recent.count, stages=_stages(recent)),
        queued=load.admitted + others.value("posbake_queue_images", key),
        running=load.running + others.value("posbake_running_images", key),
        rejected=serving.metrics.rejected(key) + others.value("posbake_rejections_total", key),
    )


def _stages(summary: LatencySummary) -> dict[str, StageLatency]:
    return {stage: StageLatency(**asdict(found)) for stage, found in summary.stages.items()}


def _chosen(catalogue: Catalogue, model: str | None, variant: str | None) -> list[Servable]:
    """Return the versions of these names; a variant without a model belongs to the default model.

    Raises:
        UnknownNameError: no version matches.
    """
    if variant is not None:
        return catalogue.versions(catalogue.model_or_default(model), variant)
    if model is not None:
        return [servable for name in catalogue.variants(model) for servable in catalogue.versions(model, name)]
    return catalogue.servables()
