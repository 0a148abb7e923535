"""The one thread that computes, and the watchdog that replaces it when a backend hangs.

All variants share the cores or the device, so one batch runs at a time: as soon as it is done, the lane whose turn it
is gives all that waits, up to its maximum. Backends have as many threads as there are cores and never compete for them.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.backends.base import Backend
from service.backends.warming import blank
from service.inputs.preprocess import Tensor
from service.scheduling.batching import AbandonedError, run_batch
from service.scheduling.job import Job
from service.scheduling.lane import Lane
from service.scheduling.outages import Outages
from service.scheduling.turns import Turns

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Seat:
    """What a computing thread does at the moment."""

    lane: Lane | None = None
    jobs: Sequence[Job] = ()
    since: float | None = None
    """When the backend was called, in seconds of time.monotonic; None while it is not running."""
    lost: bool = False


class Compute:
    """Runs what is pushed, and hands jobs back when they have an outcome.

    Args:
        settle: gets the jobs; called from any thread.
        delay: seconds that a batch waits for more images while it is not full.
        timeout: seconds that one run of a backend may take before it counts as hanging.
    """

    def __init__(self, settle: Callable[[Sequence[Job]], None], delay: float, timeout: float) -> None:
        self.lock = threading.Condition()
        """Guards the lanes; notified when the computing thread has something new to look at."""
        self.outages = Outages(self.lock)
        self._settle = settle
        self._turns = Turns(delay)
        self._timeout = timeout
        self._closing = threading.Event()
        self._seat = _Seat()
        self._thread = self._start(self._seat)
        self._watchdog = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watchdog.start()

    def push(self, job: Job) -> None:
        """Queue a job that was admitted and has its tensor."""
        with self.lock:
            if job.lane.down_until is not None:  # since it was admitted
                job.lane.admitted -= job.size
                job.outcome = job.lane.outage()
            else:
                self._turns.add(job, time.monotonic())
                self.lock.notify()
        if job.outcome is not None:
            self._settle([job])

    def release(self, job: Job) -> None:
        """Give up the place of an admitted job that will not be pushed."""
        with self.lock:
            job.lane.admitted -= job.size

    def close(self) -> None:
        """End the threads. What still waits is not run; a run that hangs is left to the end of the process."""
        self._closing.set()
        with self.lock:
            self.lock.notify_all()
        self.outages.close()
        self._watchdog.join()
        self._thread.join(timeout=1)

    def _start(self, seat: _Seat) -> threading.Thread:
        thread = threading.Thread(target=self._work, args=(seat,), name="compute", daemon=True)
        thread.start()
        return thread

    def _work(self, seat: _Seat) -> None:
        while True:
            with self.lock:
                lane = self._wait_for_turn(seat)
                if lane is None:
                    return
                jobs, left = lane.take()
                seat.lane, seat.jobs = lane, jobs
            if left:
                self._settle(left)
            if jobs:
                try:
                    self._dispatch(seat, lane, jobs)
                except AbandonedError:
                    return
                except Exception as error:
                    logger.exception("%d requests to %s failed by our own mistake", len(jobs), lane.servable.key)
                    self._hand_back(jobs, error)  # without this thread nothing would be answered any more
                with self.lock:
                    lane.running -= sum(job.size for job in jobs)
                    seat.jobs = ()

    def _wait_for_turn(self, seat: _Seat) -> Lane | None:
        """Return the lane to serve, or None if this thread shall end. The caller holds the lock."""
        while not (self._closing.is_set() or seat.lost):
            lane, seconds = self._turns.next(time.monotonic())
            if lane is not None:
                return lane
            self.lock.wait(seconds)
        return None

    def _dispatch(self, seat: _Seat, lane: Lane, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.watch.lap("queue")
        manifest = lane.servable.manifest
        backend = lane.servable.backend.current()

        def run(images: Tensor) -> NDArray[np.float32]:
            return self._supervised(seat, backend, images)

        crashed = False
        if not run_batch(run, jobs, manifest.output.classes):
            try:
                run(blank(manifest, 1))  # it answered nothing: were the images to blame, or is it broken?
            except AbandonedError:
                raise
            except Exception:
                logger.exception("the backend of %s is broken", lane.servable.key)
                crashed = True
        now = time.monotonic()
        for job in jobs:
            job.watch.lap("inference")
        with self.lock:
            images = sum(job.size for job in jobs)
            lane.batches[images] += 1
            lane.rate.record(images, jobs[0].enqueued, now)
            if not crashed:
                lane.failures = 0
        if crashed:
            self._take_out(lane, jobs)
        else:
            self._settle(jobs)

    def _supervised(self, seat: _Seat, backend: Backend, images: Tensor) -> NDArray[np.float32]:
        """Run the backend, so that the watchdog sees for how long. Raises AbandonedError if it was given up on."""
        with self.lock:
            seat.since = time.monotonic()
        try:
            return backend.run(images)
        finally:
            with self.lock:
                seat.since = None
                lost = seat.lost
            if lost:
                backend.close()  # nobody else can: it was running
                raise AbandonedError

    def _watch(self) -> None:
        while not self._closing.wait(min(self._timeout / 4, 0.25)):
            with self.lock:
                seat = self._seat
                if seat.since is None or time.monotonic() - seat.since < self._timeout:
                    continue
                seat.lost = True
                lane = seat.lane
                assert lane is not None
                lane.running -= sum(job.size for job in seat.jobs)
                lane.servable.backend.abandon()
                self._take_out(lane, seat.jobs)
                self._seat = _Seat()
                self._thread = self._start(self._seat)
            logger.error(
                "the backend of %s has not answered for %.1f s; it is given up and replaced",
                lane.servable.key,
                self._timeout,
            )

    def _hand_back(self, jobs: Sequence[Job], error: Exception) -> None:
        for job in jobs:
            job.outcome = error
        self._settle(jobs)

    def _take_out(self, lane: Lane, jobs: Sequence[Job]) -> None:
        """Take a broken backend out of service; its jobs, run or waiting, are answered 503."""
        with self.lock:
            self.outages.begin(lane)
            jobs = [*jobs, *lane.take_all()]
            for job in jobs:
                job.outcome = lane.outage()
        self._settle(jobs)
