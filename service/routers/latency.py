"""/v1/latency: latency of answers, over the last minute and since the start."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from service.catalogue.catalogue import Catalogue, Servable
from service.problems.openapi import problem_responses
from service.processes.snapshot import Snapshot
from service.routers.lean import KnownQueryRoute
from service.schemas import LatencyReport, RecentLatency, StageLatency, VersionLatency
from service.serving import Ready
from service.telemetry.latency import NO_ANSWERS, RECENT_SECONDS, LatencyRecorder, LatencySummary

router = APIRouter(prefix="/v1", tags=["models"], route_class=KnownQueryRoute)


@router.get("/latency", summary="Latency of every stage", responses=problem_responses(404, 422, 503))
def latency(
    serving: Ready,
    model: Annotated[str | None, Query(description="only this model")] = None,
    variant: Annotated[str | None, Query(description="only variants of this name")] = None,
) -> LatencyReport:
    """Count, mean and percentiles in ms, for each version of each variant: of the last minute and since the start.

    Every answer counts, and so does each of a comparison, where variants wait for one another. Percentiles are exact to
    1.6 %.
    """
    chosen = _chosen(serving.catalogue, model, variant)
    others = Snapshot() if serving.shared is None else serving.shared.others()
    return LatencyReport(
        recent_seconds=RECENT_SECONDS, versions=[_version(serving.latency, others, servable) for servable in chosen]
    )


def _version(recorder: LatencyRecorder, others: Snapshot, servable: Servable) -> VersionLatency:
    key = servable.key
    always = (recorder.counts(key) + others.latency.get(key, NO_ANSWERS)).summary()
    recent = (recorder.recent_counts(key) + others.recent.get(key, NO_ANSWERS)).summary()
    return VersionLatency(
        **asdict(key),
        count=always.count,
        stages=_stages(always),
        recent=RecentLatency(count=recent.count, stages=_stages(recent)),
    )


def _stages(summary: LatencySummary) -> dict[str, StageLatency]:
    return {stage: StageLatency(**asdict(found)) for stage, found in summary.stages.items()}


def _chosen(catalogue: Catalogue, model: str | None, variant: str | None) -> list[Servable]:
    """Return the versions of these names; a variant without a model is one of the default model.

    Raises:
        UnknownNameError: there are none.
    """
    if variant is not None:
        return catalogue.versions(catalogue.model_or_default(model), variant)
    if model is not None:
        return [servable for name in catalogue.variants(model) for servable in catalogue.versions(model, name)]
    return catalogue.servables()
