"""From logits to the most probable classes."""

from collections.abc import Sequence

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
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = _best(probabilities, top_k)
    return [Prediction(label=labels[i], index=i, probability=float(probabilities[i])) for i in best.tolist()]


def _best(probabilities: NDArray[np.float64], top_k: int) -> NDArray[np.int64]:
    """Return the indices of the largest, largest first, equal ones in order; only those are sorted."""
    candidates = np.arange(len(probabilities))
    if top_k < len(probabilities):
        least = np.partition(probabilities, -top_k)[-top_k]
        candidates = np.flatnonzero(probabilities >= least)
    order = np.argsort(-probabilities[candidates], kind="stable")[:top_k]
    best: NDArray[np.int64] = candidates[order]
    return best
