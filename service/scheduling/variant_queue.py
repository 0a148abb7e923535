"""Jobs, and the bounded queue of a variant, with its service rate and the state of its backend.

Shapes: n images of a job, B of its batch, C classes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.client_errors import QueueFullError
from service.problems.errors import ProblemError
from service.problems.server_errors import BackendDownError
from service.scheduling.service_rate import ServiceRate
from service.telemetry.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True)
class Inferred:
    """Output of a job: finite logits, float32 [n, C], and the batch size."""

    logits: NDArray[np.float32]
    batch_size: int


class JobScope(Protocol):
    """Scope of a job: that of a request, or of a run over files."""

    def refusal(self) -> ProblemError | None:
        """Return the error if work must not begin, otherwise None. Thread-safe."""


@dataclass(slots=True, eq=False)
class Job:
    """Images of a request. Owned by one thread at a time: event loop, decoding thread, running thread.

    `outcome` is set at the end: the output, or an exception.
    """

    queue: VariantQueue
    size: int
    """n"""
    scope: JobScope
    watch: Stopwatch
    future: asyncio.Future[Inferred] | None = None
    """Receives the outcome; None if it is read from the job."""
    prepare: Callable[[], Tensor] | None = None
    """Creates the tensor on a decoding thread; None if there already is a tensor."""
    tensor: Tensor | None = None
    enqueued: float = 0.0
    """Time when the tensor was ready, in seconds of time.monotonic."""
    outcome: Inferred | BaseException | None = None

    def settle(self) -> None:
        """Set the future of the job; on the event loop."""
        assert self.future is not None
        if self.future.done():  # its request has ended
            return
        if isinstance(self.outcome, Inferred):
            self.future.set_result(self.outcome)
        else:
            assert self.outcome is not None
            self.future.set_exception(self.outcome)


class VariantQueue:
    """Queue of one version. The caller holds the lock of Workers.

    Args:
        servable: the version.
        max_batch: maximum batch size, if the artifact supports it.
        max_queue: maximum number of images between admission and dispatch.
    """

    def __init__(self, servable: Servable, max_batch: int, max_queue: int) -> None:
        self.servable = servable
        self.limit = servable.largest_batch(max_batch)
        self.waiting: deque[Job] = deque()
        self.admitted = 0
        """Number of images between admission and dispatch: in `waiting`, or being decoded."""
        self.running = 0
        """Number of dispatched images without an outcome."""
        self.rate = ServiceRate()
        self.failures = 0
        """Number of failures and failed restarts since the last output of the backend."""
        self.batches: Counter[int] = Counter()
        """Number of executed batches by size."""
        self.restarts = 0
        """Number of successful restarts of the backend."""
        self.down_until: float | None = None
        """While the backend is down, the time of its next restart, in seconds of time.monotonic."""
        self.device_failure: str | None = None
        """While the backend is down: error of the device, if any."""
        self._max_queue = max_queue

    def admit(self, size: int) -> list[Job]:
        """Reserve places for `size` images, and return jobs that were dropped because their requests have ended.

        Raises:
            BackendDownError: the backend is being restarted.
            QueueFullError: there are not enough places.
        """
        if self.down_until is not None:
            raise self.unavailable()
        left: list[Job] = []
        if self.admitted + size > self._max_queue:
            left = self._drop_ended()
        if self.admitted + size > self._max_queue:
            raise QueueFullError(
                f"{self.admitted} images wait for {self.servable.key}, the limit is {self._max_queue}; try again later",
                self.rate.retry_after(self.admitted),
            )
        self.admitted += size
        return left

    def take(self) -> tuple[list[Job], list[Job]]:
        """Remove a batch, oldest first, and return the jobs to run and the jobs of ended requests."""
        taken: list[Job] = []
        left: list[Job] = []
        room = self.limit
        while self.waiting and self.waiting[0].size <= room:
            job = self.waiting.popleft()
            self.admitted -= job.size
            job.outcome = job.scope.refusal()
            if job.outcome is None:
                room -= job.size
                taken.append(job)
            else:
                left.append(job)
        self.running += self.limit - room
        return taken, left

    def take_all(self) -> list[Job]:
        """Remove and return all jobs that wait for the backend."""
        jobs = list(self.waiting)
        self.waiting.clear()
        self.admitted -= sum(job.size for job in jobs)
        return jobs

    def unavailable(self) -> BackendDownError:
        """Return the error of requests while the backend is down."""
        seconds = (self.down_until or 0.0) - time.monotonic()
        return BackendDownError(
            f"the backend of {self.servable.key} failed and is being restarted; try again later, or choose another "
            "variant",
            max(1, math.ceil(seconds)),
        )

    def _drop_ended(self) -> list[Job]:
        left = []
        for job in self.waiting:
            job.outcome = job.scope.refusal()
            if job.outcome is not None:
                left.append(job)
                self.admitted -= job.size
        self.waiting = deque(job for job in self.waiting if job.outcome is None)
        return left
