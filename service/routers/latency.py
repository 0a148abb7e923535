"""/v1/latency: how long answers took since the start."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from service.catalogue import Catalogue, Servable
from service.problems import problem_responses
from service.schemas import LatencyReport, StageLatency, VersionLatency
from service.serving import Ready
from service.telemetry.latency import WINDOW

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/latency", summary="Latency of every stage since the start", responses=problem_responses(404, 503))
def latency(
    serving: Ready,
    model: Annotated[str | None, Query(description="only this model")] = None,
    variant: Annotated[str | None, Query(description="only variants of this name")] = None,
) -> LatencyReport:
    """Count, mean and percentiles in ms, for each version of each variant."""
    versions = []
    for servable in _chosen(serving.catalogue, model, variant):
        summary = serving.latency.summary(servable.key)
        stages = {stage: StageLatency(**asdict(found)) for stage, found in summary.stages.items()}
        versions.append(VersionLatency(**asdict(servable.key), count=summary.count, stages=stages))
    return LatencyReport(window=WINDOW, versions=versions)


def _chosen(catalogue: Catalogue, model: str | None, variant: str | None) -> list[Servable]:
    """Return what is served under these names; a variant without a model is looked for in the default model.

    Raises:
        UnknownNameError: nothing is.
    """
    if variant is not None:
        return catalogue.versions(catalogue.model_or_default(model), variant)
    if model is not None:
        return [servable for name in catalogue.variants(model) for servable in catalogue.versions(model, name)]
    return catalogue.servables()
