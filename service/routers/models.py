"""/v1/models: models, variants and versions with their metadata."""

from collections.abc import Iterable
from datetime import datetime
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Request, Response

from artifact import Accuracy
from artifact.text import escaped
from service.catalogue.catalogue import MOST_LISTED, Catalogue, Servable
from service.inputs.queries import query_values
from service.problems.openapi import problem_responses
from service.reloading.reloader import Reloader
from service.schemas import (
    GoldenFacts,
    LoadingArtifact,
    ModelList,
    ModelSummary,
    RefusedArtifact,
    VariantFacts,
    VariantSummary,
    VersionFacts,
)
from service.serving import Ready, serving_of
from service.transport.routes import DirectRoute, JsonAnswer, KnownQueryRoute

direct = APIRouter(prefix="/v1", tags=["models"], route_class=DirectRoute)
router = APIRouter(prefix="/v1", tags=["models"], route_class=KnownQueryRoute)


_State = tuple[tuple[Accuracy | None, ...], tuple[tuple[str, datetime], ...]]
"""Variable state of a catalogue: accuracies, and artifacts being loaded."""

_written: WeakKeyDictionary[Catalogue, tuple[_State, bytes]] = WeakKeyDictionary()
"""Last document of each catalogue, with its state."""


@direct.get(
    "/models",
    summary="Models, variants, versions",
    response_model=ModelList,
    responses=problem_responses(422, 503),
)
async def models(request: Request) -> Response:
    """Served versions, refused artifacts with reasons, and artifacts being loaded with start times."""
    query_values(request.scope["query_string"], ())
    catalogue = serving_of(request.app.state).catalogue
    reloader: Reloader = request.app.state.reloader
    loading = tuple(sorted(reloader.loading().items()))
    state = (tuple(servable.manifest.accuracy for servable in catalogue.servables()), loading)
    found = _written.get(catalogue)
    if found is None or found[0] != state:
        found = _written[catalogue] = (state, _model_list(catalogue, loading).model_dump_json().encode())
    return JsonAnswer(found[1])


def _model_list(catalogue: Catalogue, loading: Iterable[tuple[str, datetime]]) -> ModelList:
    return ModelList(
        default_model=catalogue.default_model,
        models=[_summary(catalogue, model) for model in catalogue.models()],
        refused=[RefusedArtifact(name=found.name, reason=found.reason) for found in catalogue.refused[:MOST_LISTED]],
        refused_count=len(catalogue.refused),
        loading=[LoadingArtifact(name=name, since=since) for name, since in loading],
    )


@router.get("/models/{model}", summary="One model", responses=problem_responses(404, 422, 503))
def one_model(serving: Ready, model: str) -> ModelSummary:
    """Model and its variants."""
    return _summary(serving.catalogue, model)


@router.get("/models/{model}/variants/{variant}", summary="One variant", responses=problem_responses(404, 422, 503))
def one_variant(serving: Ready, model: str, variant: str) -> VariantFacts:
    """Metadata from the manifests of a variant's versions: baked constants, parity, accuracy."""
    versions = serving.catalogue.versions(model, variant)
    return VariantFacts(model=model, variant=variant, versions=[_facts(servable) for servable in versions])


def _summary(catalogue: Catalogue, model: str) -> ModelSummary:
    return ModelSummary(
        variants=[_variant_summary(catalogue, model, variant) for variant in catalogue.variants(model)],
        model=model,
        task=catalogue.task(model),
        default_variant=catalogue.default_variant(model),
    )


def _variant_summary(catalogue: Catalogue, model: str, variant: str) -> VariantSummary:
    servable = catalogue.newest(model, variant)
    newest = servable.manifest
    return VariantSummary(
        variant=variant,
        versions=[servable.manifest.version for servable in catalogue.versions(model, variant)],
        encoding=newest.encoding,
        precision=newest.precision,
        backend=servable.backend.name,
        running_precision=servable.backend.precision,
        accuracy=newest.accuracy,
        golden=_golden(servable),
    )


def _golden(servable: Servable) -> GoldenFacts:
    found = servable.golden
    if found is None:
        return GoldenFacts(status="unchecked")
    return GoldenFacts(
        status="passed", precision=found.precision, images=found.images, error=found.error, limit=found.limit
    )


def _facts(servable: Servable) -> VersionFacts:
    manifest = servable.manifest
    return VersionFacts(
        version=manifest.version,
        encoding=manifest.encoding,
        architecture=manifest.architecture,
        precision=manifest.precision,
        target=manifest.target,
        source=manifest.source,
        input=manifest.input,
        output=manifest.output,
        preprocess=manifest.preprocess,
        labels=list(servable.artifact.labels),
        graph=manifest.graph,
        baked=list(manifest.baked),
        constants=manifest.constants,
        samples=list(manifest.samples or ()),
        preparation=manifest.preparation,
        about=None if manifest.about is None else escaped(manifest.about),
        parity=manifest.parity,
        golden=_golden(servable),
        accuracy=manifest.accuracy,
        tools=manifest.tools,
        created=manifest.created,
        bytes=sum(file.size for file in manifest.files.values()),
        backend=servable.backend.name,
        running_precision=servable.backend.precision,
        running_operators=servable.backend.operators,
    )
