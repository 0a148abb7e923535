"""One request's images on their way through one variant.

Shapes: n images of this job, B of its batch, C classes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from imaging.preprocess import Tensor
from service.problems.errors import ProblemError
from service.telemetry.stopwatch import Stopwatch

if TYPE_CHECKING:
    from service.scheduling.lane import Lane


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a job is answered with: finite logits, float32 [n, C], and how many images ran together."""

    logits: NDArray[np.float32]
    batch_size: int


class Waiting(Protocol):
    """Whoever waits for a job: the caller of a request, or a run over files."""

    def refusal(self) -> ProblemError | None:
        """Return why work must not begin; None if it may. Any thread may call it."""


@dataclass(slots=True, eq=False)
class Job:
    """Belongs to one thread at a time: the event loop, then one that decodes, then one that runs it.

    `outcome` is set when there is nothing left to do: an answer, or what went wrong.
    """

    lane: Lane
    size: int
    """n"""
    caller: Waiting
    watch: Stopwatch
    future: asyncio.Future[Inferred] | None = None
    """Gets the outcome; None where whatever settles jobs reads it."""
    prepare: Callable[[], Tensor] | None = None
    """Makes the tensor, on a decoding thread; None where the tensor is there already."""
    tensor: Tensor | None = None
    enqueued: float = 0.0
    """When the tensor was there, in seconds of time.monotonic."""
    outcome: Inferred | BaseException | None = None

    def settle(self) -> None:
        """Give the outcome to whoever waits; on the event loop."""
        assert self.future is not None
        if self.future.done():  # its caller has left
            return
        if isinstance(self.outcome, Inferred):
            self.future.set_result(self.outcome)
        else:
            assert self.outcome is not None
            self.future.set_exception(self.outcome)
