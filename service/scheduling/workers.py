"""Worker threads, which decode images and run batches.

If networks run on the CPU's cores, one thread per core does both, so an image is run while it is in the core's cache.
While there is work for every core, runs are concurrent, each on one core; a run that leaves cores idle is spread over
them. Measured with Swin-T on 2 cores: 1.09 times the throughput of sequential runs on all cores, of single images or of
batches (benchmarks/runs.py).

If networks run on a device, one thread runs batches on it, and the others decode. If runs overlap, a second thread
takes a batch during a run, but only a full one, which is copied meanwhile, so batches do not become smaller.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaging.preprocess import Tensor
from service.backends.base import Backend
from service.backends.warming import blank
from service.problems.errors import BackendUnavailableError, ThreadsError
from service.problems.server_errors import DecodeTimeoutError
from service.scheduling.batching import run_batch
from service.scheduling.decoding import Decode, DecodeQueue
from service.scheduling.pool import Duties, Duty, WorkerPool
from service.scheduling.restarts import Restarts
from service.scheduling.round_robin import RoundRobin
from service.scheduling.supervision import AbandonedError, Cleanup, Watch, WorkerState
from service.scheduling.variant_queue import Job, VariantQueue

logger = logging.getLogger(__name__)


class Workers:
    """Queues and threads that run jobs, and pass jobs with an outcome to `settle`.

    Args:
        settle: receives the jobs; called from any thread.
        threads: number of decoding threads, and of cores.
        on_cores: whether networks run on the same cores instead of a device.
        overlaps: whether two runs overlap on the device; see Backend.overlaps.
        room: maximum number of images that wait to be decoded.
        delay: seconds that an incomplete batch waits for more images.
        decode_timeout: time limit of a decode in seconds.
        run_timeout: time limit of a run in seconds.
    """

    def __init__(
        self,
        settle: Callable[[Sequence[Job]], None],
        threads: int,
        *,
        on_cores: bool,
        overlaps: bool = False,
        room: int,
        delay: float,
        decode_timeout: float,
        run_timeout: float,
    ) -> None:
        self.lock = threading.RLock()
        """Lock of all queues."""
        self.restarts = Restarts(self.lock)
        self._settle = settle
        self._cores = threads
        self._decoding = DecodeQueue(room)
        self._round_robin = RoundRobin(delay, full_beside_a_run=overlaps and not on_cores)
        self._to_decode = threading.Condition(self.lock)
        self._to_run = self._to_decode if on_cores else threading.Condition(self.lock)
        self._closing = False
        self._decode_timeout, self._run_timeout = decode_timeout, run_timeout
        self._pool = WorkerPool(self.lock, threads, self._find, min(decode_timeout / 4, run_timeout / 4, 0.25))
        runner: Duties = (Duty.DECODE, Duty.RUN) if on_cores else (Duty.RUN,)
        runners = [runner] * (2 if overlaps else 1)
        try:
            with self.lock:
                for duties in [runner] * threads if on_cores else [*[(Duty.DECODE,)] * threads, *runners]:
                    self._pool.start(duties)
        except RuntimeError as error:
            self.close()
            raise ThreadsError(
                f"cannot start {threads} threads: {error}; lower --threads, or raise the limits of processes and "
                "memory (ulimit -u, -v, or those of the container)"
            ) from error

    @property
    def decoding(self) -> int:
        """Number of pieces of work that wait for a decoding thread."""
        return len(self._decoding)

    def shortage(self) -> str | None:
        """Return the reason why too few threads are left to be ready; None if there are enough."""
        return self._pool.shortage()

    def decode(self, owner: Hashable, decode: Decode[Any]) -> None:
        """Queue work; see DecodeQueue.put.

        Raises:
            QueueFullError: the queue is full.
            NotReadyError: all threads for it hang.
        """
        with self.lock:
            self._pool.check()
            self._decoding.put(owner, decode)
            self._to_decode.notify()

    def prepare(self, job: Job, make: Callable[[], Tensor]) -> None:
        """Queue an admitted job; `make` returns its tensor on a decoding thread.

        Raises:
            QueueFullError, NotReadyError: as `decode`. The job keeps its place.
        """
        self.decode(job.queue, Decode(job.queue.servable.key, make, partial(self._prepared, job)))

    def push(self, job: Job) -> None:
        """Queue an admitted job with its tensor.

        Raises:
            NotReadyError: all threads for it hang.
        """
        with self.lock:
            self._pool.check()
            if self._add(job):
                self._to_run.notify()

    def release(self, job: Job) -> None:
        """Release the place of an admitted job that will not be pushed."""
        with self.lock:
            job.queue.admitted -= job.size

    def close(self) -> None:
        """End the threads. Waiting work is dropped; work that does not return soon is abandoned."""
        with self.lock:
            self._closing = True
            self._to_decode.notify_all()
            self._to_run.notify_all()
        self.restarts.close()
        self._pool.close(1)

    def _prepared(self, job: Job, outcome: Tensor | BaseException) -> Job | None:
        """Return a job with its tensor; a job that cannot be decoded is settled and never reaches a batch."""
        if not isinstance(outcome, BaseException):
            job.tensor = outcome
            return job
        job.outcome = outcome
        self.release(job)
        self._settle([job])
        return None

    def _add(self, job: Job) -> bool:
        """Queue a job and return True; if its backend went down since admission, settle it and return False."""
        if job.queue.down_until is None:
            self._round_robin.add(job, time.monotonic())
            return True
        job.queue.admitted -= job.size
        job.outcome = job.queue.unavailable()
        self._settle([job])
        return False

    def _find(self, state: WorkerState, duties: Duties) -> tuple[Duty, Callable[[], None]] | None:
        """Return the next work, or None if this thread must end. The caller holds the lock."""
        while not self._closing:
            seconds: float | None = None
            for duty in duties:
                if duty is Duty.DECODE:
                    if (item := self._decoding.take()) is not None:
                        return duty, partial(self._decode, state, *item, can_run=Duty.RUN in duties)
                else:
                    queue, seconds = self._round_robin.next(time.monotonic())
                    if queue is not None:
                        jobs, left = queue.take()
                        # Under the lock: another thread's run of this backend may be abandoned at any time.
                        return duty, partial(self._run, state, queue, queue.servable.backend.current(), jobs, left)
            (self._to_run if Duty.RUN in duties else self._to_decode).wait(seconds)
        return None

    def _decode(self, state: WorkerState, decode: Decode[Any], put: float, *, can_run: bool) -> None:
        def abandon() -> None:
            limit = round(1000 * self._decode_timeout)
            decode.deliver(
                DecodeTimeoutError(
                    f"decoding took longer than the allowed {limit} ms; send fewer or smaller images, or save them "
                    "in a simpler form, such as baseline JPEG"
                )
            )

        state.watch = Watch("decode", decode.what, self._decode_timeout, abandon, time.monotonic())
        outcome = decode.attempt()
        with self.lock:
            state.finish()
            self._decoding.done(put)
            job = decode.deliver(outcome)
            if job is not None and self._add(job) and not can_run:  # otherwise this thread runs it next
                self._to_run.notify()

    def _run(
        self, state: WorkerState, queue: VariantQueue, backend: Backend, jobs: Sequence[Job], left: Sequence[Job]
    ) -> None:
        if left:
            self._settle(left)
        if not jobs:
            return
        crashed = False
        try:
            crashed = self._dispatch(state, queue, backend, jobs)
        except AbandonedError:
            raise
        except Exception as error:
            logger.exception("%d requests to %s failed by an internal error", len(jobs), queue.servable.key)
            for job in jobs:  # the thread must continue
                job.outcome = error
        with self.lock:
            queue.running -= sum(job.size for job in jobs)
        if crashed:
            self._take_out(queue, backend, jobs)
        else:
            self._settle(jobs)  # last, because the event loop would wait for this thread to release the GIL

    def _dispatch(self, state: WorkerState, queue: VariantQueue, backend: Backend, jobs: Sequence[Job]) -> bool:
        """Set the outcome of the jobs, and return whether the backend is broken.

        Raises:
            AbandonedError: the run hung; the jobs have been answered.
        """
        for job in jobs:
            job.watch.lap("queue")
        manifest = queue.servable.manifest
        spread = self._leaves_cores_idle()

        def run(images: Tensor) -> NDArray[np.float32]:
            abandon = partial(self._abandon_run, queue, backend, jobs)
            state.watch = Watch("run", queue.servable.key, self._run_timeout, abandon, time.monotonic())
            try:
                return backend.run(images, spread=spread)
            finally:
                with self.lock:
                    state.finish()

        crashed = False
        if not run_batch(run, jobs, manifest.output.classes):
            try:
                run(blank(manifest, 1))  # no job has an output: check whether the backend is broken
            except AbandonedError:
                raise
            except Exception as error:
                logger.exception("the backend of %s is broken", queue.servable.key)
                crashed = True
                queue.device_failure = str(error) if isinstance(error, BackendUnavailableError) else None
        now = time.monotonic()
        for job in jobs:
            job.watch.lap("inference")
        with self.lock:
            images = sum(job.size for job in jobs)
            queue.batches[images] += 1
            queue.rate.record(images, jobs[0].enqueued, now)
            if not crashed:
                queue.failures = 0
        return crashed

    def _leaves_cores_idle(self) -> bool:
        """Return whether all work, including this thread's run, is less than one job per core."""
        with self.lock:
            busy = sum(state.busy for state in self._pool.states)
            return busy + len(self._decoding) + self._round_robin.waiting < self._cores

    def _abandon_run(self, queue: VariantQueue, backend: Backend, jobs: Sequence[Job]) -> Cleanup | None:
        """Abandon a hanging backend; unless already replaced, its thread closes it when the run returns."""
        queue.running -= sum(job.size for job in jobs)
        self._take_out(queue, backend, jobs)
        return backend.close if queue.servable.backend.abandon(backend) else None

    def _take_out(self, queue: VariantQueue, backend: Backend, jobs: Sequence[Job]) -> None:
        """Take a broken backend out of service, and answer its running and waiting jobs 503."""
        with self.lock:
            if queue.servable.backend.holds(backend):  # otherwise another run already caused its replacement
                self.restarts.begin(queue)
                jobs = [*jobs, *queue.take_all()]
            for job in jobs:
                job.outcome = queue.unavailable()
        self._settle(jobs)
