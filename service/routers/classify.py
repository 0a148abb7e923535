"""/v1/classify: most probable classes of an image by one variant, with stage times."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, TypeAdapter

from service.catalogue.catalogue import Servable
from service.inference import Images, choose_version, infer, prepare
from service.problems.openapi import problem_responses
from service.ranking import predict
from service.routers.image_body import ImageQuery, image_body, receive
from service.scheduling.variant_queue import Inferred
from service.schemas import AutoClassification, Classification, Predictions, Selection, StageTimes
from service.serving import Serving, serving_of
from service.telemetry.record import RequestRecord, record_of
from service.telemetry.stopwatch import milliseconds, server_timing
from service.transport.middleware import CLASSIFY_PATH
from service.transport.routes import DirectRoute, JsonAnswer

router = APIRouter(tags=["classification"], route_class=DirectRoute)


_WRITERS = {kind: TypeAdapter(kind).dump_json for kind in (Classification, AutoClassification)}


class ClassifyQuery(ImageQuery):
    """Parameters of a classification."""

    variant: str | None = Field(
        default=None,
        description="default: the model's most accurate variant; auto: the most accurate variant with a p95 of the "
        "last minute within timeout_ms",
    )
    version: int | None = Field(default=None, ge=1, description="default: the newest version")


@router.post(
    CLASSIFY_PATH,
    summary="Classify one image",
    response_model=Classification | AutoClassification,
    responses=problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=image_body(ClassifyQuery),
)
async def classify(request: Request, query: Annotated[ClassifyQuery, Query()]) -> Response:
    """The image is the body itself, the multipart field `image`, or base64 in JSON `{"image": …}`.

    The parameters may also be form fields or JSON members. An unknown parameter, or one with two values, is an error.

    JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF are supported. The first frame is decoded, rotated according to EXIF, and
    converted to RGB.
    """
    serving, record = serving_of(request.app.state), record_of(request.scope)
    received = await receive(request, serving, query, partial(_choose, serving, record))
    (servable, selection), upload = received.chosen, received.upload
    images = Images(1, make=partial(prepare, servable, upload.content, upload.extract, serving.reading))
    completed = await infer(
        *(serving, record, servable, images, received.scope, received.watch),
        partial(_predictions, servable, received.query),
    )
    manifest, times = servable.manifest, milliseconds(completed.laps)
    kind = Classification if selection is None else partial(AutoClassification, selection=selection)
    answer = kind(
        id=record.request_id,
        model=manifest.model,
        variant=manifest.variant,
        encoding=manifest.encoding,
        version=manifest.version,
        task=manifest.task,
        predictions=completed.result,
        latency_ms=StageTimes(**times),
        batch_size=completed.batch_size,
        backend=servable.backend.name,
        precision=manifest.precision,
        running_precision=servable.backend.precision,
    )
    return JsonAnswer(_WRITERS[type(answer)](answer), (b"server-timing", server_timing(times).encode()))


def _choose(serving: Serving, record: RequestRecord, query: ClassifyQuery) -> tuple[Servable, Selection | None]:
    return choose_version(
        *(serving, record, query.model, query.variant, query.version, query.timeout_ms, query.threshold)
    )


def _predictions(servable: Servable, query: ClassifyQuery, inferred: Inferred) -> Predictions:
    labels = servable.artifact.labels
    return predict(servable.manifest, inferred.logits[0], labels, query.top_k, query.threshold)
