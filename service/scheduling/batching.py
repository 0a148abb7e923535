"""Batch execution: if a batch fails, each request is run again separately, so one bad image fails alone.

Shapes: n images of a job, B of the batch, C classes.
"""

import logging
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from imaging.preprocess import Tensor
from service.problems.errors import GraphError
from service.problems.server_errors import InferenceError
from service.scheduling.supervision import AbandonedError
from service.scheduling.variant_queue import Inferred, Job

logger = logging.getLogger(__name__)

Run = Callable[[Tensor], NDArray[np.float32]]
"""Function from images to logits, float32 [B, C]; may raise any exception."""


def run_batch(run: Run, jobs: Sequence[Job], classes: int) -> bool:
    """Set the outcome of every job, and return whether the backend succeeded for at least one.

    A failed batch is run again job by job, so only the jobs that cause the failure fail.

    Raises:
        AbandonedError: as `run`.
    """
    size = sum(job.size for job in jobs)
    try:
        logits = run(_stack(jobs))
        if logits.shape != (size, classes):
            raise GraphError(f"the logits have shape {logits.shape}, expected {(size, classes)}")
    except AbandonedError:
        raise
    except Exception:
        key = jobs[0].queue.servable.key
        if len(jobs) > 1:
            logger.exception("a batch of %d requests to %s failed; running each request separately", len(jobs), key)
            answered = [run_batch(run, [job], classes) for job in jobs]
            return any(answered)
        logger.exception("a request to %s failed", key)
        jobs[0].outcome = InferenceError(
            "the network failed on this image, see the server's log; send another image, or choose another version"
        )
        return False
    _share(logits, jobs, size)
    return True


def _stack(jobs: Sequence[Job]) -> Tensor:
    """Stack the images of all jobs to [B, …]; without a copy for a single job."""
    tensors = [job.tensor for job in jobs if job.tensor is not None]
    assert len(tensors) == len(jobs)
    if len(tensors) == 1:
        return tensors[0]
    return cast(Tensor, np.concatenate(tensors))


def _share(logits: NDArray[np.float32], jobs: Sequence[Job], size: int) -> None:
    all_finite = np.isfinite(logits).all()
    start = 0
    for job in jobs:
        own = logits[start : start + job.size]
        start += job.size
        job.outcome = (
            Inferred(own, size)
            if all_finite or np.isfinite(own).all()
            else InferenceError(
                "the network's logits are not all finite numbers; choose another version, and report this to its "
                "exporter"
            )
        )
