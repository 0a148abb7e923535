"""From logits to the most probable classes."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.schemas import Prediction


def rank(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Return the `top_k` most probable classes, or all if there are fewer; equal ones in class order.

    Args:
        logits: [C], all finite.
        labels: C of them.
        top_k: at least 1.
    """
    shifted = logits.astype(np.float64) - logits.max()
    total = float(np.exp(shifted).sum())
    best = sorted(_candidates(logits, top_k), key=lambda i: -logits[i])[:top_k]
    return [Prediction(label=labels[i], index=i, probability=math.exp(shifted[i]) / total) for i in best]


def _candidates(logits: NDArray[np.float32], top_k: int) -> Iterable[int]:
    """Return the classes among which the best are, in class order: only those are sorted."""
    if top_k >= len(logits):
        return range(len(logits))
    least = np.partition(logits, -top_k)[-top_k]
    candidates: list[int] = np.flatnonzero(logits >= least).tolist()
    return candidates
