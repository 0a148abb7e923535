"""/v1/classify: one image, one variant, the most probable classes and where the time went."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from service.catalogue.catalogue import Servable
from service.catalogue.selecting import AUTO, select
from service.classifying import prepare
from service.problems.client_errors import InvalidParameterError
from service.problems.openapi import problem_responses
from service.ranking import check_threshold, predict
from service.routers.image_body import ImageQuery, image_body, receive
from service.routers.lean import LeanRoute
from service.schemas import AutoClassification, Classification, Selection, StageTimes
from service.serving import Serving, serving_of
from service.telemetry.stopwatch import milliseconds, server_timing
from service.transport.middleware import CLASSIFY_PATH

router = APIRouter(tags=["classification"], route_class=LeanRoute)


class ClassifyQuery(ImageQuery):
    """The parameters of one classification."""

    variant: str | None = Field(
        default=None,
        description="default: the model's most accurate one; auto: the most accurate whose p95 of the last minute fits "
        "timeout_ms",
    )
    version: int | None = Field(default=None, ge=1, description="default: the variant's newest")


@router.post(
    CLASSIFY_PATH,
    summary="Classify one image",
    response_model=Classification | AutoClassification,
    responses=problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=image_body(ClassifyQuery),
)
async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """The image is the body itself, the multipart field `image`, or base64 in JSON `{"image": …}`.

    The parameters may also be form fields or JSON members. One that is unknown, or has two values, is an error.

    JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF are decoded (of several frames the first), turned upright by EXIF, and
    made RGB.
    """
    serving = serving_of(request.app.state)

    def choose(query: ClassifyQuery) -> tuple[Servable, Selection | None]:
        servable, selection = _chosen(serving, query)
        check_threshold(servable.manifest, query.threshold)
        request.state.key = servable.key
        return servable, selection

    received = await receive(request, serving, query, choose)
    (servable, selection), watch = received.chosen, received.watch
    request.state.watches = [(servable.key, watch)]
    with received.scope as scope:
        scope.watch(request.receive)
        upload = received.upload
        source = partial(prepare, servable, upload.content, upload.extract, serving.reading, watch)
        inferred = await serving.engine.infer(servable, source, scope, watch)
    labels, asked = servable.artifact.labels, received.query
    predictions = predict(servable.manifest, inferred.logits[0], labels, asked.top_k, asked.threshold)
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
        task=manifest.task,
        predictions=predictions,
        latency_ms=StageTimes(**milliseconds(laps)),
        batch_size=inferred.batch_size,
        backend=servable.backend.name,
        precision=manifest.precision,
        running_precision=servable.backend.precision,
    )
    if selection is not None:
        answer = AutoClassification(**dict(answer), selection=selection)
    return Response(
        answer.model_dump_json(), media_type="application/json", headers={"Server-Timing": server_timing(laps)}
    )


def _chosen(serving: Serving, query: ClassifyQuery) -> tuple[Servable, Selection | None]:
    """Return what classifies, and why if that was left to the service."""
    if query.variant != AUTO:
        return serving.catalogue.find(query.model, query.variant, query.version), None
    if query.version is not None:
        raise InvalidParameterError("variant=auto chooses among the newest versions; leave version out, or name both")
    return select(serving, query.model, query.timeout_ms or serving.settings.timeout_ms)
