"""The way through the service, as routers see it: await what an image yields, within limits."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from service.catalogue import Servable
from service.errors import InvalidParameterError
from service.inputs.preprocess import Tensor
from service.resolving import resolve
from service.scheduling.caller import Caller
from service.scheduling.job import Inferred, Job
from service.scheduling.lane import Lane
from service.scheduling.workers import Workers
from service.settings import Settings
from service.telemetry.stopwatch import Stopwatch

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What one lane holds, in images, and what became of it since it was made."""

    admitted: int
    running: int
    batches: dict[int, int]
    """How many were run, by how many images were in them."""
    restarts: int
    down: bool


class Engine:
    """The queues of all variants, and the threads that work them off. Made on the event loop it answers to.

    Args:
        settings: of the app.
        on_cores: whether what is served runs on the CPU's cores; see Backend.on_cores.
    """

    def __init__(self, settings: Settings, *, on_cores: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._lanes: dict[Servable, Lane] = {}
        self._workers = Workers(
            self._settle_soon,
            settings.threads,
            on_cores=on_cores,
            room=settings.max_decode_queue,
            delay=settings.batch_delay_ms / 1000,
            timeout=settings.backend_timeout_ms / 1000,
        )

    async def infer(
        self, servable: Servable, source: Tensor | Callable[[], Tensor], caller: Caller, watch: Stopwatch
    ) -> Inferred:
        """Return the logits of one request's images.

        Args:
            servable: what runs them.
            source: the input tensor [n, …]; or what makes one with n = 1, on a decoding thread: decodes, resizes.
            caller: work is dropped that it no longer waits for.
            watch: gets its laps `queue` (all waiting: for a decoding thread, from enqueued to dispatched) and
                `inference`; `source` adds its own.

        Raises:
            QueueFullError: too much waits for this variant, or for a decoding thread.
            BackendDownError: the variant's backend failed, and is being restarted.
            DeadlineError: the caller's time is over.
            ClientGoneError: the caller has left.
            InferenceError: the backend failed on these images, or gave what are not numbers.
            InvalidParameterError: more images than a batch of this variant holds.
        """
        lane = self._lane(servable)
        job = Job(lane, 1, caller, watch, caller.future())
        if callable(source):
            job.prepare = source
        else:
            job.tensor, job.size = source, len(source)
        if job.size > lane.limit:
            raise InvalidParameterError(
                f"{job.size} images in one request, {servable.key} takes at most {lane.limit}; send fewer"
            )
        with self._workers.lock:
            left = lane.admit(job.size)
        for one in left:
            one.settle()
        if job.prepare is not None:
            try:
                self._workers.decode(lane, lambda: self._prepare(job))
            except BaseException:
                self._workers.release(job)
                raise
        else:
            self._workers.push(job)
        return await job.future

    async def offload(self, work: Callable[[], T], caller: Caller) -> T:
        """Return what `work` returns, on a decoding thread: an image decoded once for several variants.

        Raises:
            QueueFullError, DeadlineError, ClientGoneError: as `infer`; and whatever `work` raises.
        """
        future: asyncio.Future[T] = caller.future()

        def unless_refused() -> T:
            if (refusal := caller.refusal()) is not None:
                raise refusal
            return work()

        def run() -> Job | None:
            resolve(future, unless_refused)
            return None  # whatever it is for, that is no job yet

        self._workers.decode(self, run)
        return await future

    def load(self, servable: Servable) -> Load:
        """Return how much waits and runs for a variant, and how it fared."""
        lane = self._lane(servable)
        with self._workers.lock:
            return Load(lane.admitted, lane.running, dict(lane.batches), lane.restarts, lane.down_until is not None)

    @property
    def decoding(self) -> int:
        """Pieces of work that wait to be decoded."""
        return self._workers.decoding

    def outages(self) -> list[Servable]:
        """Return what cannot be served at the moment, because its backend is being restarted."""
        return self._workers.outages.servables()

    async def retire(self, servable: Servable) -> None:
        """Wait until nothing waits or runs for a servable that gets no more requests, forget it, and close it."""
        lane = self._lane(servable)
        while self._busy(lane):
            await asyncio.sleep(0.05)
        del self._lanes[servable]
        with self._workers.lock:
            self._workers.outages.forget(lane)
        await asyncio.to_thread(servable.backend.close)  # frees much memory, which takes a while

    def close(self) -> None:
        """End the threads. Requests that are still unanswered never will be: drain first."""
        self._workers.close()

    def _busy(self, lane: Lane) -> bool:
        with self._workers.lock:
            return bool(lane.admitted or lane.running)

    def _lane(self, servable: Servable) -> Lane:
        lane = self._lanes.get(servable)
        if lane is None:
            lane = self._lanes[servable] = Lane(servable, self._settings.max_batch, self._settings.max_queue)
        return lane

    def _prepare(self, job: Job) -> Job | None:
        """Make a job's tensor, and return it if it can be run; what cannot be decoded never gets near a batch."""
        job.watch.lap("queue")
        job.outcome = job.caller.refusal()
        if job.outcome is None:
            assert job.prepare is not None
            try:
                job.tensor = job.prepare()
            except BaseException as error:  # noqa: BLE001 -- whoever awaits the job gets it
                job.outcome = error
        if job.outcome is None:
            return job
        self._workers.release(job)
        self._settle_soon([job])
        return None

    def _settle_soon(self, jobs: Sequence[Job]) -> None:
        self._loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
