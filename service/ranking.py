"""Predictions from a network's output: classes by probability, or values.

Shapes: C classes, or values of a regression.
"""

import math
from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from artifact import Manifest
from service.problems.client_errors import InvalidParameterError
from service.schemas import Prediction, Predictions, Value

THRESHOLD = 0.5
"""Default of the minimum probability for a class of a multi-label model."""


def check_threshold(manifest: Manifest, threshold: float | None) -> None:
    """Raise InvalidParameterError if a request has a threshold for a model that is not multi-label."""
    if threshold is not None and manifest.task != "multi-label":
        raise InvalidParameterError(
            f"threshold is for multi-label models; {manifest.key.name} is {manifest.task}: leave it out"
        )


def predict(
    manifest: Manifest, output: NDArray[np.float32], labels: Sequence[str], top_k: int, threshold: float | None = None
) -> Predictions:
    """Return predictions from a network's output, according to its task.

    Args:
        manifest: manifest of the network.
        output: [C], all finite.
        labels: C labels.
        top_k: maximum number of classes, at least 1; a regression returns all values.
        threshold: minimum probability of a class of a multi-label model; None is THRESHOLD.
    """
    if manifest.task == "regression":
        return [
            Value(label=label, index=index, value=value)
            for index, (label, value) in enumerate(zip(labels, output.tolist(), strict=True))
        ]
    if manifest.task == "multi-label":
        return applying(manifest, output, labels, top_k, threshold)
    if manifest.output.activation == "softmax":
        return [Prediction(label=labels[i], index=i, probability=value) for i, value in _best(output, top_k)]
    return rank(output, labels, top_k)


def applying(
    manifest: Manifest, output: NDArray[np.float32], labels: Sequence[str], top_k: int, threshold: float | None
) -> list[Prediction]:
    """Return the classes of a multi-label model above the threshold, most probable first; see `predict`."""
    probabilities = sigmoid(output) if manifest.output.activation == "none" else output.astype(np.float64)
    least = THRESHOLD if threshold is None else threshold
    return [
        Prediction(label=labels[i], index=i, probability=float(probabilities[i]))
        for i, _ in _best(output, top_k)
        if probabilities[i] >= least
    ]


def rank(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Return the `top_k` most probable classes, or all if there are fewer; equal ones in class order.

    Args:
        logits: [C], all finite.
        labels: C labels.
        top_k: at least 1.
    """
    best = _best(logits, top_k)
    largest = best[0][1]
    total = float(np.add.reduce(np.exp(logits.astype(np.float64) - largest)))
    return [Prediction(label=labels[i], index=i, probability=math.exp(value - largest) / total) for i, value in best]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(−x)) of each, without overflow for large negative ones."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def _best(scores: NDArray[np.float32], top_k: int) -> list[tuple[int, float]]:
    """Return (class, score) of the `top_k` largest scores, largest first, equal ones in class order."""
    candidates = _candidates(scores, top_k)
    values = zip(candidates.tolist(), scores[candidates].tolist(), strict=True)
    return sorted(values, key=itemgetter(1), reverse=True)[:top_k]  # stable, also in reverse


def _candidates(scores: NDArray[np.float32], top_k: int) -> NDArray[np.intp]:
    """Return candidates for the best classes, in class order, so that only these need sorting."""
    if top_k >= len(scores):
        return np.arange(len(scores))
    least = np.partition(scores, -top_k)[-top_k]
    candidates: NDArray[np.intp] = (scores >= least).nonzero()[0]
    return candidates
