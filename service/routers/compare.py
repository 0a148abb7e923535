"""/v1/compare: classes of an image by several variants, with agreement and stage times."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from artifact.text import quoted
from service.catalogue.catalogue import Catalogue, Servable
from service.comparing import VersionAnswer, consensus, interpret
from service.inference import Completed, infer_each
from service.problems.client_errors import InvalidParameterError
from service.problems.errors import ProblemError
from service.problems.openapi import problem_responses
from service.problems.rendering import type_of
from service.ranking import check_threshold
from service.routers.image_body import ImageQuery, image_body, receive
from service.schemas import ComparedVariant, Comparison, FailedVariant, StageTimes
from service.serving import serving_of
from service.telemetry.record import record_of
from service.telemetry.stopwatch import milliseconds
from service.transport.middleware import COMPARE_PATH
from service.transport.routes import DirectRoute

router = APIRouter(tags=["classification"], route_class=DirectRoute)


class CompareQuery(ImageQuery):
    """Parameters of a comparison."""

    variants: str | None = Field(default=None, description="comma-separated names; default: all variants of the model")


@router.post(
    COMPARE_PATH,
    summary="Classify one image by several variants",
    response_model=Comparison,
    responses=problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=image_body(CompareQuery),
)
async def compare(request: Request, query: Annotated[CompareQuery, Query()]) -> Response:
    """The image is sent as for /v1/classify. It is decoded once, and preprocessed once for each distinct preprocessing.

    The newest version of every variant runs it. A variant without a result in time is listed under `failed`, with the
    error of a single request. The response is an error only if all variants fail: the error of the first, with all of
    them in `failed`.
    """
    serving, record = serving_of(request.app.state), record_of(request.scope)
    received = await receive(request, serving, query, partial(_named, serving.catalogue))
    (model, servables), watch = received.chosen, received.watch
    outcomes = await infer_each(
        *(serving, record, servables, received.upload, received.scope, watch),
        partial(interpret, received.query.top_k, received.query.threshold),
    )
    completed = [outcome.result for outcome in outcomes if isinstance(outcome.result, Completed)]
    failed = [
        _failed(outcome.servable, outcome.result) for outcome in outcomes if isinstance(outcome.result, ProblemError)
    ]
    if not completed:
        raise _no_answer(outcomes[0].result, failed)
    answer = Comparison(
        id=record.request_id,
        model=model,
        task=servables[0].manifest.task,
        agreement=consensus([found.result for found in completed]),
        variants=[_compared(found) for found in completed],
        failed=failed,
        total_ms=watch.elapsed() / 1000,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _named(catalogue: Catalogue, query: CompareQuery) -> tuple[str, list[Servable]]:
    """Return the model, and the newest version of each named variant, without duplicates.

    Raises:
        UnknownNameError: a variant is not served.
        InvalidParameterError: no variant is named, or the threshold does not apply.
    """
    model, names = catalogue.model_or_default(query.model), query.variants
    check_threshold(catalogue.find(model).manifest, query.threshold)
    if names is None:
        return model, [catalogue.newest(model, variant) for variant in catalogue.variants(model)]
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    if not wanted:
        raise InvalidParameterError(
            f"variants={quoted(names)} names none; known: {', '.join(catalogue.variants(model))}; leave it out for all"
        )
    return model, [catalogue.newest(model, variant) for variant in wanted]


def _compared(completed: Completed[VersionAnswer]) -> ComparedVariant:
    servable = completed.result.servable
    manifest = servable.manifest
    return ComparedVariant(
        variant=manifest.variant,
        encoding=manifest.encoding,
        version=manifest.version,
        predictions=completed.result.predictions,
        latency_ms=StageTimes(**milliseconds(completed.laps)),
        batch_size=completed.batch_size,
        backend=servable.backend.name,
        precision=manifest.precision,
        running_precision=servable.backend.precision,
    )


def _failed(servable: Servable, error: ProblemError) -> FailedVariant:
    retry_after = error.headers.get("Retry-After")
    return FailedVariant(
        variant=servable.manifest.variant,
        version=servable.manifest.version,
        type=type_of(error),
        title=error.title,
        status=error.status,
        detail=error.detail,
        retry_after=None if retry_after is None else int(retry_after),
    )


def _no_answer(first: Completed[VersionAnswer] | ProblemError, failed: list[FailedVariant]) -> ProblemError:
    assert isinstance(first, ProblemError)
    first.members = {**first.members, "failed": [found.model_dump() for found in failed]}
    return first
