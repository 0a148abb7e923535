"""One image through several variants: decoded once, prepared once for each way of preparing it, run by all at once."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.catalogue import Servable
from service.errors import ClientGoneError, ProblemError
from service.inputs.forms import Extract
from service.inputs.images import decode
from service.inputs.preprocess import Reading, Tensor, preprocess
from service.ranking import rank
from service.scheduling.caller import Caller
from service.scheduling.engine import Engine
from service.schemas import Agreement, Prediction, Vote
from service.telemetry.stopwatch import Stopwatch

_Way = tuple[object, ...]
"""All that the input tensor depends on besides the image."""


@dataclass(frozen=True)
class Answer:
    """What one variant said: the most probable classes; and how many images ran together."""

    predictions: list[Prediction]
    batch_size: int


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
    top_k: int,
    caller: Caller,
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
        top_k: how many classes each names.
        caller: work is dropped that it no longer waits for.
        watch: started when the body was there; each variant goes on from its laps.

    Raises:
        InvalidBodyError, NotAnImageError, TooManyPixelsError: the image cannot be had.
        QueueFullError: too much waits to be decoded.
        DeadlineError: the caller's time was over before the image was decoded.
        ClientGoneError: the caller has left.
    """
    prepared = await engine.offload(lambda: _prepare(servables, body, extract, reading, watch), caller)

    async def run(servable: Servable) -> Outcome:
        tensor, laps = prepared[_way(servable)]
        own = laps.fork()
        if isinstance(tensor, ProblemError):
            return Outcome(servable, own, tensor)
        try:
            inferred = await engine.infer(servable, tensor, caller, own)
        except ClientGoneError:
            raise
        except ProblemError as error:
            return Outcome(servable, own, error)
        predictions = rank(inferred.logits[0], servable.artifact.labels, top_k)
        own.lap("postprocess")
        return Outcome(servable, own, Answer(predictions, inferred.batch_size))

    return await asyncio.gather(*map(run, servables))


def agreement(answers: Iterable[tuple[str, str]]) -> Agreement:
    """Return who agrees with whom on the most probable class; ties go to the class that was named first.

    Args:
        answers: variant and label, at least one.
    """
    voters: defaultdict[str, list[str]] = defaultdict(list)
    for variant, label in answers:
        voters[label].append(variant)
    votes = [Vote(label=label, variants=variants) for label, variants in voters.items()]
    votes.sort(key=lambda vote: -len(vote.variants))
    count = sum(len(vote.variants) for vote in votes)
    return Agreement(unanimous=len(votes) == 1, share=len(votes[0].variants) / count, votes=votes)


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
    image = decode(extract(body), reading.max_pixels)
    watch.lap("decode")
    prepared: dict[_Way, tuple[Tensor | ProblemError, Stopwatch]] = {}
    for servable in servables:
        way = _way(servable)
        if way in prepared:
            continue
        laps = watch.fork()
        laps.lap("queue")  # while the image was prepared in other ways
        try:
            tensor: Tensor | ProblemError = preprocess(image, servable.manifest, reading)
        except ProblemError as error:
            tensor = error
        laps.lap("preprocess")
        prepared[way] = (tensor, laps)
    return prepared
