"""Comparison of several versions' outputs for one image: agreement on classes, spread of values."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from service.catalogue.catalogue import Servable
from service.ranking import applying, predict
from service.scheduling.variant_queue import Inferred
from service.schemas import Agreement, LabelsVote, Predictions, Spread, Value, Vote

H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True)
class VersionAnswer:
    """Predictions of one version."""

    servable: Servable
    predictions: Predictions
    applying: tuple[str, ...]
    """For a multi-label model, the labels of all classes with at least the threshold's probability, in class order."""


def interpret(top_k: int, threshold: float | None, servable: Servable, inferred: Inferred) -> VersionAnswer:
    """Return the predictions of one version: see `service.ranking.predict`.

    Args:
        top_k: maximum number of classes in the response.
        threshold: see `predict`.
        servable: the version.
        inferred: its logits for one image.
    """
    manifest, labels, output = servable.manifest, servable.artifact.labels, inferred.logits[0]
    predictions = predict(manifest, output, labels, top_k, threshold)
    if manifest.task != "multi-label":
        return VersionAnswer(servable, predictions, ())
    every = applying(manifest, output, labels, len(labels), threshold)
    in_order = sorted(every, key=lambda found: found.index)
    return VersionAnswer(servable, predictions, tuple(found.label for found in in_order))


def consensus(answers: Sequence[VersionAnswer]) -> Agreement | Spread:
    """Return the agreement of variants of one model, by its task.

    Args:
        answers: at least one.
    """
    task = answers[0].servable.manifest.task
    if task == "regression":
        return spread([answer.predictions for answer in answers])
    if task == "multi-label":
        return agreement_on_labels((answer.servable.key.variant, answer.applying) for answer in answers)
    return agreement((answer.servable.key.variant, answer.predictions[0].label) for answer in answers)


def agreement(answers: Iterable[tuple[str, str]]) -> Agreement:
    """Return the agreement on the most probable class; ties go to the class that was named first.

    Args:
        answers: variant and label, at least one.
    """
    votes = _votes(answers)
    return _agreement([Vote(label=label, variants=variants) for label, variants in votes])


def agreement_on_labels(answers: Iterable[tuple[str, tuple[str, ...]]]) -> Agreement:
    """Return the agreement on the sets of classes above the threshold; ties go to the set named first.

    Args:
        answers: variant and labels, at least one.
    """
    votes = _votes(answers)
    return _agreement([LabelsVote(labels=list(labels), variants=variants) for labels, variants in votes])


def spread(answers: Sequence[Predictions]) -> Spread:
    """Return the spread of the values of a regression, of at least one answer."""
    values = [[found.value for found in answer if isinstance(found, Value)] for answer in answers]
    outputs = zip(*values, strict=False)  # variants may have different numbers of outputs
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
