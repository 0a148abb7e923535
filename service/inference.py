"""Inference: the images of one request on one version, or one image on several versions.

Routes parse requests and render responses. This module selects the version, moves work to decoding threads, measures
the stages, and fills the request's record.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from imaging.preprocess import Reading, Tensor, preprocess
from service.catalogue.catalogue import Servable
from service.catalogue.selecting import AUTO, select
from service.inputs.forms import Extract, Upload
from service.inputs.images import image_problems
from service.problems.client_errors import ClientGoneError, InvalidParameterError
from service.problems.errors import ProblemError
from service.ranking import check_threshold
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.schemas import Selection
from service.serving import Serving
from service.telemetry.record import RequestRecord, Run
from service.telemetry.stopwatch import Laps, Stopwatch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Images:
    """The n images of a request: a tensor, or a function that creates it."""

    count: int
    """n"""
    tensor: Tensor | None = None
    """uint8 [n, H, W, 3] or float32 [n, 3, H, W]."""
    make: Callable[[Stopwatch], Tensor] | None = None
    """Creates the tensor on a decoding thread, with the laps `decode` and `preprocess`; may raise ProblemError."""


@dataclass(frozen=True, slots=True)
class Completed(Generic[T]):
    """Outcome of a run: interpreted logits, batch size and stage times."""

    result: T
    batch_size: int
    laps: Laps


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """Outcome of one of several versions that ran the same image."""

    servable: Servable
    result: Completed[T] | ProblemError


def choose_version(
    serving: Serving,
    record: RequestRecord,
    model: str | None,
    variant: str | None,
    version: int | None,
    timeout_ms: int | None,
    threshold: float | None,
) -> tuple[Servable, Selection | None]:
    """Return the version for a request; with `variant=auto`, also the reason for its selection.

    Args:
        serving: the versions that are served.
        record: record of the request.
        model, variant, version: as the request names them; None for the default.
        timeout_ms: deadline of the request; None is TIMEOUT_MS.
        threshold: threshold of the request, for multi-label models only.

    Raises:
        UnknownNameError: a model, variant or version is not served.
        InvalidParameterError: the model is ambiguous, `auto` has a version, or the threshold does not apply.
        NoVariantFitsError, BackendDownError: as `select`.
    """
    selection: Selection | None = None
    if variant != AUTO:
        servable = serving.catalogue.find(model, variant, version)
    elif version is not None:
        raise InvalidParameterError("variant=auto selects among the newest versions; leave out version, or name both")
    else:
        timeout_ms = timeout_ms or serving.settings.timeout_ms
        down = serving.engine.restarting()
        servable, selection = select(serving.catalogue, serving.latency, down, model, timeout_ms)
    check_threshold(servable.manifest, threshold)
    record.key = servable.key
    return servable, selection


async def infer(
    serving: Serving,
    record: RequestRecord,
    servable: Servable,
    images: Images,
    scope: RequestScope,
    watch: Stopwatch,
    interpret: Callable[[Inferred], T],
) -> Completed[T]:
    """Run the images of one request on one version.

    Args:
        serving: the engine.
        record: record of the request; gets the run.
        servable: the version.
        images: at most the largest batch of this version.
        scope: deadline and disconnect of the request; entered here.
        watch: started when the body was complete; receives the laps of all stages.
        interpret: maps the logits to the result; counts as postprocessing.

    Raises:
        ProblemError: as `Engine.infer` and `images.make`.
    """
    run = Run(servable.key, watch, images.count)
    record.runs.append(run)
    engine, make = serving.engine, images.make
    with scope:
        if make is None:
            assert images.tensor is not None
            inferred = await engine.infer(servable, images.tensor, scope, watch)
        elif images.count == 1:
            inferred = await engine.infer(servable, partial(make, watch), scope, watch)
        else:
            tensor = await engine.offload(partial(_after_queue, make, watch), scope)
            inferred = await engine.infer(servable, tensor, scope, watch)
    result = interpret(inferred)
    return Completed(result, inferred.batch_size, run.complete(inferred.batch_size))


async def infer_each(
    serving: Serving,
    record: RequestRecord,
    servables: Sequence[Servable],
    upload: Upload,
    scope: RequestScope,
    watch: Stopwatch,
    interpret: Callable[[Servable, Inferred], T],
) -> list[Outcome[T]]:
    """Run one image on several versions: decoded once, preprocessed once for all with the same preprocessing.

    Each version counts as a separate request. An error of the image ends the request; an error of a version is the
    outcome of that version.

    Args:
        serving: the engine.
        record: record of the request; gets the runs.
        servables: at least one.
        upload: the image.
        scope: deadline and disconnect of the request; entered here.
        watch: started when the body was complete; each version continues from its laps.
        interpret: maps a version and its logits to the result; counts as postprocessing.

    Returns:
        The outcomes in the order of `servables`.

    Raises:
        InvalidBodyError, InvalidImageError, ImageTooLargeError: the image cannot be decoded.
        QueueFullError: the decode queue is full.
        DeadlineError: the deadline passed before the image was decoded.
        ClientGoneError: the client has closed the connection.
    """
    engine = serving.engine

    async def run_one(servable: Servable) -> tuple[Run, Outcome[T]]:
        tensor, laps = prepared[_preprocessing(servable)]
        run = Run(servable.key, laps.fork())
        try:
            if isinstance(tensor, ProblemError):
                raise tensor
            inferred = await engine.infer(servable, tensor, scope, run.watch)
        except ClientGoneError:
            raise
        except ProblemError as error:
            run.fail(error)
            return run, Outcome(servable, error)
        result = interpret(servable, inferred)
        run.status = 200
        return run, Outcome(servable, Completed(result, inferred.batch_size, run.complete(inferred.batch_size)))

    with scope:
        prepared = await engine.offload(partial(_prepare_each, servables, upload, serving.reading, watch), scope)
        ended = await asyncio.gather(*map(run_one, servables))
    record.runs.extend(run for run, _ in ended)
    return [outcome for _, outcome in ended]


def prepare(servable: Servable, body: bytes, extract: Extract, reading: Reading, watch: Stopwatch) -> Tensor:
    """Return the input tensor [1, …] of the image in `body`; runs on a decoding thread.

    Raises:
        InvalidBodyError: as `extract`.
        InvalidImageError, ImageTooLargeError, NotReadyError: as `image_problems`.
    """
    with image_problems():
        image = reading.decode(extract(body), [servable.manifest.preprocess])
        watch.lap("decode")
        tensor = preprocess(image, servable.manifest, reading)
        watch.lap("preprocess")
    return tensor


_Preprocessing = tuple[object, ...]
"""Parameters that determine the input tensor of an image."""


def _preprocessing(servable: Servable) -> _Preprocessing:
    steps = servable.manifest.preprocess
    dtype = servable.manifest.input.dtype
    scale = () if dtype == "uint8" else (steps.mean, steps.std)  # the graph normalises uint8 inputs
    return (dtype, steps.resize, steps.keep_aspect, steps.crop, steps.interpolation, *scale)


def _after_queue(make: Callable[[Stopwatch], Tensor], watch: Stopwatch) -> Tensor:
    watch.lap("queue")
    return make(watch)


def _prepare_each(
    servables: Sequence[Servable], upload: Upload, reading: Reading, watch: Stopwatch
) -> dict[_Preprocessing, tuple[Tensor | ProblemError, Stopwatch]]:
    """Return a tensor [1, …] and laps for each preprocessing; runs on a decoding thread."""
    watch.lap("queue")
    with image_problems():
        file = upload.extract(upload.content)
        image = reading.decode(file, [servable.manifest.preprocess for servable in servables])
    watch.lap("decode")
    prepared: dict[_Preprocessing, tuple[Tensor | ProblemError, Stopwatch]] = {}
    for servable in servables:
        preprocessing = _preprocessing(servable)
        if preprocessing in prepared:
            continue
        laps = watch.fork()
        laps.lap("queue")  # time of the other preprocessings
        try:
            with image_problems():
                tensor: Tensor | ProblemError = preprocess(image, servable.manifest, reading)
        except ProblemError as error:
            tensor = error
        laps.lap("preprocess")
        prepared[preprocessing] = (tensor, laps)
    return prepared
