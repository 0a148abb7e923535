"""Engine: awaitable interface to queues and worker threads."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imaging.preprocess import Tensor
from service.catalogue.catalogue import Servable
from service.problems.client_errors import ClientGoneError, InvalidParameterError
from service.resources.background import settle_soon
from service.scheduling.decoding import Decode
from service.scheduling.request_scope import RequestScope
from service.scheduling.variant_queue import Inferred, Job, VariantQueue
from service.scheduling.workers import Workers
from service.settings import Settings
from service.telemetry.stopwatch import Stopwatch

T = TypeVar("T")

_ANSWERED = ClientGoneError("the request was answered before this work began")


@dataclass(frozen=True)
class Load:
    """Number of images in a queue, and its counts since its creation."""

    admitted: int
    running: int
    batches: dict[int, int]
    """Number of executed batches by size."""
    restarts: int
    down: bool


class Engine:
    """Queues of all variants, and the worker threads. Created on the event loop that it serves.

    Args:
        settings: settings of the app.
        on_cores: whether networks run on the CPU's cores; see Backend.on_cores.
        overlaps: whether two runs overlap on a device; see Backend.overlaps.
    """

    def __init__(self, settings: Settings, *, on_cores: bool, overlaps: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._queues: dict[Servable, VariantQueue] = {}
        self._workers = Workers(
            self._settle_soon,
            settings.threads,
            on_cores=on_cores,
            overlaps=overlaps,
            room=settings.max_decode_queue,
            delay=settings.batch_delay_ms / 1000,
            decode_timeout=settings.decode_timeout_ms / 1000,
            run_timeout=settings.backend_timeout_ms / 1000,
        )

    async def infer(
        self, servable: Servable, source: Tensor | Callable[[], Tensor], scope: RequestScope, watch: Stopwatch
    ) -> Inferred:
        """Run the images of a request and return the logits.

        Args:
            servable: the version.
            source: the input tensor [n, …], or a function for a decoding thread that returns one with n = 1.
            scope: deadline and disconnect of the request, already entered. Work that has not begun at its end is
                dropped.
            watch: receives the laps `queue` (waiting for a decoding thread, and from enqueued to dispatched) and
                `inference`; `source` adds its own.

        Raises:
            QueueFullError: the queue of this variant or the decode queue is full.
            BackendDownError: the variant's backend failed, and is being restarted.
            DeadlineError: the deadline has passed.
            ClientGoneError: the client has closed the connection.
            DecodeTimeoutError: `source` took too long, and was abandoned.
            NotReadyError: all threads hang.
            InferenceError: the backend failed on these images, or its logits are not finite.
            InvalidParameterError: there are more images than the largest batch of this variant.
        """
        queue = self._queue(servable)
        future: asyncio.Future[Inferred] = scope.future()
        job = Job(queue, 1, scope, watch, future)
        if callable(source):
            job.prepare = source
        else:
            job.tensor, job.size = source, len(source)
        if job.size > queue.limit:
            raise InvalidParameterError(
                f"{job.size} images in one request, {servable.key} takes at most {queue.limit}; send fewer"
            )
        with self._workers.lock:
            left = queue.admit(job.size)
        for one in left:
            one.settle()
        try:
            if job.prepare is None:
                self._workers.push(job)
            else:
                self._workers.prepare(job, partial(_prepare, job))
        except BaseException:
            self._workers.release(job)
            raise
        try:
            return await future
        finally:
            job.prepare = None  # it has the body, and may wait for a thread after the request has ended

    async def offload(self, work: Callable[[], T], scope: RequestScope) -> T:
        """Run `work` on a decoding thread and return its result.

        Raises:
            QueueFullError, DeadlineError, ClientGoneError, DecodeTimeoutError, NotReadyError: as `infer`.
            Exception: as `work`.
        """
        future: asyncio.Future[T] = scope.future()
        waiting = [work]

        def unless_refused() -> T:
            left = list(waiting)
            refusal = scope.refusal() or (None if left else _ANSWERED)
            if refusal is not None:
                raise refusal
            return left[0]()

        def deliver(outcome: T | BaseException) -> None:
            settle_soon(future, outcome)  # there is no job yet

        self._workers.decode(self, Decode("a request's images", unless_refused, deliver))
        try:
            return await future
        finally:
            waiting.clear()  # it has the body, and may wait for a thread after the request has ended

    def load(self, servable: Servable) -> Load:
        """Return the number of waiting and running images of a version, and its counts."""
        queue = self._queue(servable)
        with self._workers.lock:
            return Load(
                queue.admitted, queue.running, dict(queue.batches), queue.restarts, queue.down_until is not None
            )

    @property
    def decoding(self) -> int:
        """Number of pieces of work that wait for a decoding thread."""
        return self._workers.decoding

    def restarting(self) -> list[Servable]:
        """Return the versions whose backends are being restarted."""
        return self._workers.restarts.servables()

    def device_failures(self) -> list[str]:
        """Return the errors of failed devices."""
        return self._workers.restarts.device_failures()

    def shortage(self) -> str | None:
        """Return the reason why too few threads are left to be ready; None if there are enough."""
        return self._workers.shortage()

    async def retire(self, servable: Servable) -> None:
        """Close a replaced servable when no image waits or runs for it."""
        queue = self._queue(servable)
        while self._busy(queue):
            await asyncio.sleep(0.05)
        del self._queues[servable]
        with self._workers.lock:
            self._workers.restarts.forget(queue)
        await asyncio.to_thread(servable.backend.close)  # freeing its memory takes a while

    def close(self) -> None:
        """End the threads. Unfinished requests are not answered: drain first."""
        self._workers.close()

    def _busy(self, queue: VariantQueue) -> bool:
        with self._workers.lock:
            return bool(queue.admitted or queue.running)

    def _queue(self, servable: Servable) -> VariantQueue:
        queue = self._queues.get(servable)
        if queue is None:
            queue = self._queues[servable] = VariantQueue(servable, self._settings.max_batch, self._settings.max_queue)
        return queue

    def _settle_soon(self, jobs: Sequence[Job]) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(_settle, jobs)


def _prepare(job: Job) -> Tensor:
    job.watch.lap("queue")
    prepare = job.prepare
    if (refusal := job.scope.refusal()) is not None:
        raise refusal
    if prepare is None:
        raise _ANSWERED
    return prepare()


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
