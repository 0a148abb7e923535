"""/v1/compare: one image, several variants: where they agree, and what each costs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from service.catalogue.catalogue import Catalogue, Servable
from service.comparing import Answer, Outcome, Shown, consensus, run_all
from service.problems.client_errors import InvalidParameterError
from service.problems.errors import ProblemError
from service.problems.openapi import problem_responses
from service.problems.rendering import type_of
from service.problems.server_errors import DeadlineError
from service.ranking import check_threshold
from service.routers.image_body import ImageQuery, image_body, receive
from service.routers.lean import LeanRoute
from service.schemas import ComparedVariant, Comparison, FailedVariant, StageTimes
from service.serving import serving_of
from service.telemetry.metrics import Metrics
from service.telemetry.stopwatch import milliseconds
from service.transport.middleware import COMPARE_PATH

router = APIRouter(tags=["classification"], route_class=LeanRoute)


class CompareQuery(ImageQuery):
    """The parameters of one comparison."""

    variants: str | None = Field(default=None, description="names with commas between them; default: all of the model")


@router.post(
    COMPARE_PATH,
    summary="Classify one image by several variants",
    response_model=Comparison,
    responses=problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=image_body(CompareQuery),
)
async def compare(request: Request, query: Annotated[CompareQuery, Query()]) -> Response:
    """The image comes as for /v1/classify; it is decoded once, and resized once for all that resize alike.

    The newest version of every variant runs it. A variant that gives no answer in time stands under `failed`, with what
    it would have been answered alone; the answer is an error only if no variant gives one: the first one's, and all of
    them in `failed`.
    """
    serving = serving_of(request.app.state)
    received = await receive(request, serving, query, lambda query: _named(serving.catalogue, query))
    (model, servables), upload, watch = received.chosen, received.upload, received.watch
    with received.scope as scope:
        scope.watch(request.receive)
        outcomes = await run_all(
            *(serving.engine, servables, upload.content, upload.extract, serving.reading),
            *(Shown(received.query.top_k, received.query.threshold), scope, watch),
        )
    request.state.watches = [(outcome.servable.key, outcome.watch) for outcome in outcomes]
    answered = [_answered(outcome, outcome.result) for outcome in outcomes if isinstance(outcome.result, Answer)]
    failed = [
        _failed(outcome.servable, outcome.result) for outcome in outcomes if isinstance(outcome.result, ProblemError)
    ]
    _record(serving.metrics, outcomes)
    request.state.counts = False
    if not answered:
        raise _nobody_answered(outcomes, failed)
    answer = Comparison(
        id=request.state.request_id,
        model=model,
        task=servables[0].manifest.task,
        agreement=consensus(outcomes),
        variants=answered,
        failed=failed,
        total_ms=watch.elapsed() / 1000,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _named(catalogue: Catalogue, query: CompareQuery) -> tuple[str, list[Servable]]:
    """Return the model, and the newest version of each variant named, once.

    Raises:
        UnknownNameError: one of them is not served.
        InvalidParameterError: none is named, or a threshold is given to what has none.
    """
    model, names = catalogue.model_or_default(query.model), query.variants
    check_threshold(catalogue.find(model).manifest, query.threshold)
    if names is None:
        return model, [catalogue.newest(model, variant) for variant in catalogue.variants(model)]
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    if not wanted:
        raise InvalidParameterError(
            f"variants={names!r} names none; known: {', '.join(catalogue.variants(model))}; leave it out for all"
        )
    return model, [catalogue.newest(model, variant) for variant in wanted]


def _answered(outcome: Outcome, answer: Answer) -> ComparedVariant:
    servable, manifest = outcome.servable, outcome.servable.manifest
    return ComparedVariant(
        variant=manifest.variant,
        encoding=manifest.encoding,
        version=manifest.version,
        predictions=answer.predictions,
        latency_ms=StageTimes(**milliseconds(outcome.watch.laps())),
        batch_size=answer.batch_size,
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


def _record(metrics: Metrics, outcomes: list[Outcome]) -> None:
    """Record one request for each variant, as if it had been asked alone: each had its own fate."""
    for outcome in outcomes:
        key, result = outcome.servable.key, outcome.result
        if isinstance(result, Answer):
            laps = outcome.watch.laps()
            metrics.count_request(key, 200)
            metrics.latency.record(key, laps)
            metrics.statistics.succeeded(key, laps, 1, result.batch_size)
            continue
        metrics.count_request(key, result.status, result.name)
        metrics.statistics.failed(key, outcome.watch.elapsed())
        if isinstance(result, DeadlineError):
            metrics.latency.record_overdue(key, outcome.watch.elapsed())


def _nobody_answered(outcomes: list[Outcome], failed: list[FailedVariant]) -> ProblemError:
    first = outcomes[0].result
    assert isinstance(first, ProblemError)
    first.members = {**first.members, "failed": [found.model_dump() for found in failed]}
    return first
