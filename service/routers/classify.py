"""/v1/classify: one image, one variant, the most probable classes and where the time went."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.catalogue import Servable
from service.classifying import prepare
from service.errors import InvalidParameterError
from service.inputs.body import read_body
from service.inputs.forms import form_of
from service.middleware import CLASSIFY_PATH
from service.problems import problem_responses
from service.ranking import rank
from service.routers.image_body import IMAGE_BODY
from service.routers.lean import LeanRoute
from service.scheduling.caller import Caller
from service.schemas import AutoClassification, Classification, Selection, StageTimes
from service.selecting import AUTO, select
from service.serving import Serving, serving_of
from service.telemetry.stopwatch import Stopwatch, milliseconds, server_timing

router = APIRouter(tags=["classification"], route_class=LeanRoute)


class ClassifyQuery(BaseModel):
    """The parameters of one classification."""

    model_config = ConfigDict(frozen=True)

    model: str | None = Field(default=None, description="default: the server's default model")
    variant: str | None = Field(
        default=None,
        description="default: the model's most accurate one; auto: the most accurate whose p95 of the last minute fits "
        "timeout_ms",
    )
    version: int | None = Field(default=None, ge=1, description="default: the variant's newest")
    top_k: int = Field(default=5, ge=1, description="how many classes to return; all, if there are fewer")
    timeout_ms: int | None = Field(
        default=None,
        ge=1,
        le=86_400_000,
        description="how long to wait for the answer; default: the server's TIMEOUT_MS",
    )


@router.post(
    CLASSIFY_PATH,
    summary="Classify one image",
    response_model=Classification | AutoClassification,
    responses=problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=IMAGE_BODY,
)
async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """The image is the body itself, the multipart field `image`, or base64 in JSON `{"image": …}`.

    JPEG, PNG, WebP, BMP, GIF (its first frame) and TIFF are decoded, turned upright by EXIF, and made RGB.
    """
    serving = serving_of(request.app.state)
    settings = serving.settings
    timeout_ms = query.timeout_ms or settings.timeout_ms
    servable, selection = _chosen(serving, query, timeout_ms)
    request.state.key = servable.key
    extract = form_of(request.headers.get("content-type"))
    with Caller(timeout_ms) as caller:
        body = await read_body(request, settings.max_body_bytes)
        watch = Stopwatch()
        request.state.watches = [(servable.key, watch)]
        caller.watch(request.receive)
        source = partial(prepare, servable, body, extract, serving.reading, watch)
        inferred = await serving.engine.infer(servable, source, caller, watch)
    predictions = rank(inferred.logits[0], servable.artifact.labels, query.top_k)
    watch.lap("postprocess")
    laps = watch.laps()
    serving.latency.record(servable.key, laps)
    serving.metrics.statistics.succeeded(servable.key, laps, 1, inferred.batch_size)
    manifest = servable.manifest
    answer = Classification(
        id=request.state.request_id,
        model=manifest.model,
        variant=manifest.variant,
        encoding=manifest.encoding,
        version=manifest.version,
        predictions=predictions,
        latency_ms=StageTimes(**milliseconds(laps)),
        batch_size=inferred.batch_size,
        backend=servable.backend.name,
        precision=manifest.precision,
    )
    if selection is not None:
        answer = AutoClassification(**dict(answer), selection=selection)
    return Response(
        answer.model_dump_json(), media_type="application/json", headers={"Server-Timing": server_timing(laps)}
    )


def _chosen(serving: Serving, query: ClassifyQuery, timeout_ms: int) -> tuple[Servable, Selection | None]:
    """Return what classifies, and why if that was left to the service."""
    if query.variant != AUTO:
        return serving.catalogue.find(query.model, query.variant, query.version), None
    if query.version is not None:
        raise InvalidParameterError("variant=auto chooses among the newest versions; leave version out, or name both")
    return select(serving, query.model, timeout_ms)
