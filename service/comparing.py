"""One image through several variants: decoded once, prepared once for each way of preparing it, run by all at once."""

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from imaging.preprocess import Reading, Tensor, preprocess
from service.catalogue.catalogue import Servable
from service.inputs.forms import Extract
from service.inputs.images import image_problems
from service.problems.client_errors import ClientGoneError
from service.problems.errors import ProblemError
from service.ranking import applying, predict
from service.scheduling.engine import Engine
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred
from service.schemas import Agreement, LabelsVote, Predictions, Spread, Value, Vote
from service.telemetry.stopwatch import Stopwatch

H = TypeVar("H", bound=Hashable)

_Way = tuple[object, ...]
"""All that the input tensor depends on besides the image."""


@dataclass(frozen=True)
class Answer:
    """The predictions of one variant, and how many images ran together."""

    predictions: Predictions
    applying: tuple[str, ...]
    """Of a multi-label model: the labels of all classes with at least the threshold's probability, in class order."""
    batch_size: int


@dataclass(frozen=True)
class Shown:
    """What is shown of each variant's output: see `service.ranking.predict`."""

    top_k: int
    threshold: float | None = None


@dataclass(frozen=True)
class Outcome:
    """An answer, and its laps; or why there is none."""

    servable: Servable
    watch: Stopwatch
    result: Answer | ProblemError


async def run_all(
    engine: Engine,
    servables: Sequence[Servable],
    body: bytes,
    extract: Extract,
    reading: Reading,
    shown: Shown,
    scope: RequestScope,
    watch: Stopwatch,
) -> list[Outcome]:
    """Return every variant's outcome, in the order of `servables`.

    What befalls the image itself ends all of it; what befalls one variant is its outcome.

    Args:
        engine: runs them.
        servables: at least one.
        body: of the request.
        extract: takes the image file out of it.
        reading: as `preprocess` has it.
        shown: how many classes each names.
        scope: work is dropped that it no longer waits for.
        watch: started when the body was there; each variant goes on from its laps.

    Raises:
        InvalidBodyError, InvalidImageError, ImageTooLargeError: the image cannot be had.
        QueueFullError: too much waits to be decoded.
        DeadlineError: the scope's time was over before the image was decoded.
        ClientGoneError: the scope has left.
    """
    prepared = await engine.offload(lambda: _prepare(servables, body, extract, reading, watch), scope)

    async def run(servable: Servable) -> Outcome:
        tensor, laps = prepared[_way(servable)]
        own = laps.fork()
        if isinstance(tensor, ProblemError):
            return Outcome(servable, own, tensor)
        try:
            inferred = await engine.infer(servable, tensor, scope, own)
        except ClientGoneError:
            raise
        except ProblemError as error:
            return Outcome(servable, own, error)
        answer = _answer(servable, inferred, shown)
        own.lap("postprocess")
        return Outcome(servable, own, answer)

    return await asyncio.gather(*map(run, servables))


def consensus(outcomes: Iterable[Outcome]) -> Agreement | Spread:
    """Return how far variants of one model agree, by its task.

    Args:
        outcomes: at least one is an answer.
    """
    answers = [(found.servable.manifest, found.result) for found in outcomes if isinstance(found.result, Answer)]
    task = answers[0][0].task
    if task == "regression":
        return spread([answer.predictions for _, answer in answers])
    if task == "multi-label":
        return agreement_on_labels((manifest.variant, answer.applying) for manifest, answer in answers)
    return agreement((manifest.variant, answer.predictions[0].label) for manifest, answer in answers)


def agreement(answers: Iterable[tuple[str, str]]) -> Agreement:
    """Return who agrees with whom on the most probable class; ties go to the class that was named first.

    Args:
        answers: variant and label, at least one.
    """
    votes = _votes(answers)
    return _agreement([Vote(label=label, variants=variants) for label, variants in votes])


def agreement_on_labels(answers: Iterable[tuple[str, tuple[str, ...]]]) -> Agreement:
    """Return who agrees with whom on the classes that apply; ties go to what was named first.

    Args:
        answers: variant and labels, at least one.
    """
    votes = _votes(answers)
    return _agreement([LabelsVote(labels=list(labels), variants=variants) for labels, variants in votes])


def spread(answers: Sequence[Predictions]) -> Spread:
    """Return how far the values of a regression are apart, of at least one answer."""
    values = [[found.value for found in answer if isinstance(found, Value)] for answer in answers]
    outputs = zip(*values, strict=False)  # variants may differ in how many they have
    return Spread(max_difference=max(max(output) - min(output) for output in outputs))


def _votes(answers: Iterable[tuple[str, H]]) -> list[tuple[H, list[str]]]:
    """Return the variants for each vote, most variants first."""
    voters: defaultdict[H, list[str]] = defaultdict(list)
    for variant, vote in answers:
        voters[vote].append(variant)
    return sorted(voters.items(), key=lambda vote: -len(vote[1]))


def _agreement(votes: list[Vote] | list[LabelsVote]) -> Agreement:
    count = sum(len(vote.variants) for vote in votes)
    return Agreement(unanimous=len(votes) == 1, share=len(votes[0].variants) / count, votes=votes)


def _answer(servable: Servable, inferred: Inferred, shown: Shown) -> Answer:
    manifest, labels, output = servable.manifest, servable.artifact.labels, inferred.logits[0]
    predictions = predict(manifest, output, labels, shown.top_k, shown.threshold)
    if manifest.task != "multi-label":
        return Answer(predictions, (), inferred.batch_size)
    every = applying(manifest, output, labels, len(labels), shown.threshold)
    in_order = sorted(every, key=lambda found: found.index)
    return Answer(predictions, tuple(found.label for found in in_order), inferred.batch_size)


def _way(servable: Servable) -> _Way:
    steps = servable.manifest.preprocess
    dtype = servable.manifest.input.dtype
    scale = () if dtype == "uint8" else (steps.mean, steps.std)  # of uint8 the graph sees to it
    return (dtype, steps.resize, steps.keep_aspect, steps.crop, steps.interpolation, *scale)


def _prepare(
    servables: Sequence[Servable], body: bytes, extract: Extract, reading: Reading, watch: Stopwatch
) -> dict[_Way, tuple[Tensor | ProblemError, Stopwatch]]:
    """Return a tensor [1, …] for each way of preparing, and its laps; on a decoding thread."""
    watch.lap("queue")
    with image_problems():
        image = reading.decode(extract(body), [servable.manifest.preprocess for servable in servables])
    watch.lap("decode")
    prepared: dict[_Way, tuple[Tensor | ProblemError, Stopwatch]] = {}
    for servable in servables:
        way = _way(servable)
        if way in prepared:
            continue
        laps = watch.fork()
        laps.lap("queue")  # while the image was prepared in other ways
        try:
            with image_problems():
                tensor: Tensor | ProblemError = preprocess(image, servable.manifest, reading)
        except ProblemError as error:
            tensor = error
        laps.lap("preprocess")
        prepared[way] = (tensor, laps)
    return prepared
