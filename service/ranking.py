"""From logits to the most probable classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.errors import InferenceError
from service.schemas import Prediction


def rank(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """Return the `top_k` most probable classes, or all if there are fewer; equal ones in class order.

    Args:
        logits: [C].
        labels: C of them.
        top_k: at least 1.

    Raises:
        InferenceError: a logit is infinite or not a number.
    """
    if not np.isfinite(logits).all():
        raise InferenceError(
            "the network's logits are not all finite numbers; choose another version, and tell who exported this one"
        )
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(label=labels[i], index=i, probability=float(probabilities[i])) for i in best.tolist()]
