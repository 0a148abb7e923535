"""Runs of a network over many files with the service's threads; results are in order.

`service.scheduling.workers` does the work: on the CPU each thread decodes and runs images; on a device one thread runs
batches of images that the others decode. Time limits, restarts of failed backends and errors of single images are
handled as in the server. A bounded window of files is processed at a time, so that results can be returned in order.
Shapes: C outputs of the network.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifact import Artifact
from artifact.opening import UnreadableFileError
from artifact.text import shown
from imaging.decode import pillow_pixel_limit
from imaging.preprocess import Reading, Tensor, preprocess
from service.catalogue.catalogue import Servable
from service.inputs.images import image_problems, reading_of
from service.offline.errors import OfflineError
from service.offline.files import ImageFile, read_image
from service.offline.stopping import Stopping
from service.problems.errors import ProblemError, ServiceError
from service.problems.server_errors import BackendDownError, MemoryFullError, NotReadyError
from service.resources.memory import MemoryBudget
from service.scheduling.variant_queue import Inferred, Job, VariantQueue
from service.scheduling.workers import Workers
from service.settings import Settings
from service.telemetry.stopwatch import Stopwatch

T = TypeVar("T")

REASON_LIMIT = 500
"""Maximum number of characters of an error in a row."""

STAGES = ("read", "decode", "preprocess", "inference")

_ATTEMPTS = 3
"""Number of attempts for an image whose batch crashed the backend."""

_MOST_RESTARTS = 5
"""Number of consecutive unsuccessful restarts after which the run ends."""

_PAUSE = 0.02
"""Pause of the collecting thread, in seconds."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one file.

    Attributes:
        file: the file.
        output: [C], all finite; None after an error.
        error: printable reason; empty if there is an output.
        milliseconds: time of each stage of STAGES; 0 for stages not reached.
    """

    file: ImageFile
    output: NDArray[np.float32] | None
    error: str
    milliseconds: dict[str, float]


@dataclass(slots=True, eq=False)
class _Flight:
    file: ImageFile
    job: Job
    read: int = 0
    """Time to read the file, in ns."""
    attempts: int = 1
    settled: bool = False


class _Patient:
    """Scope without deadline or disconnect."""

    def refusal(self) -> ProblemError | None:
        """Refuse nothing."""
        return None


_PATIENT = _Patient()


@dataclass
class Runner:
    """Runner of a network over files; created by `running`."""

    processes: ClassVar[int] = 1
    """Number of processes."""
    servable: Servable
    settings: Settings
    _reading: Reading
    _workers: Workers = field(init=False)
    _queue: VariantQueue = field(init=False)

    def __post_init__(self) -> None:
        backend, settings = self.servable.backend, self.settings
        limit = self.servable.largest_batch(settings.max_batch)
        self.window = max(32, 4 * settings.threads, 2 * limit + settings.threads)
        """Maximum number of files that are processed or wait for earlier ones."""
        self._quota = self.window // 4
        self._finished: deque[Job] = deque()
        self._enough = threading.Event()
        self._queue = VariantQueue(self.servable, settings.max_batch, self.window)
        self._workers = Workers(
            self._settle,
            settings.threads,
            on_cores=backend.on_cores,
            overlaps=backend.overlaps,
            room=self.window,
            delay=0.0,
            decode_timeout=settings.decode_timeout_ms / 1000,
            run_timeout=settings.backend_timeout_ms / 1000,
        )

    @property
    def artifact(self) -> Artifact:
        """The artifact."""
        return self.servable.artifact

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self.servable.backend.name

    def run(self, files: Iterable[ImageFile | None], make: Callable[[Result], T], stopping: Stopping) -> Iterator[T]:
        """Yield `make` of the result of each file in order; after `stopping`, only of started files.

        Args:
            files: files; None, only while others are in progress, if the next one is not known yet.
            make: called in the caller's thread.
            stopping: stops the run.

        Raises:
            OfflineError: the backend fails repeatedly, or all threads hang.
        """
        waiting, flights, jobs = iter(files), deque[_Flight](), dict[Job, _Flight]()
        ready = deque[_Flight]()
        while True:
            if not stopping.requested:
                known = takewhile(lambda file: file is not None, islice(waiting, self.window - len(flights)))
                begun = [_Flight(file, self._job()) for file in known if file is not None]
                flights.extend(begun)
                ready.extend(begun)
            down = self._submit(ready, jobs)
            if not flights or (down and stopping.requested):
                return
            ready.extend(self._collect(jobs))
            while flights and flights[0].settled:
                yield make(_result(flights.popleft()))

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def _job(self) -> Job:
        return Job(self._queue, 1, _PATIENT, Stopwatch())

    def _submit(self, ready: deque[_Flight], jobs: dict[Job, _Flight]) -> bool:
        """Submit flights to the threads unless the backend is down, and return whether it is down.

        Raises:
            OfflineError: as `run`.
        """
        with self._workers.lock:  # acquired once for all, because the threads need it too
            if self._queue.down_until is not None:
                if self._queue.failures > _MOST_RESTARTS:
                    raise OfflineError(
                        f"the backend of {self.servable.key} fails repeatedly, see the log above; choose "
                        "another --backend, --device or version"
                    )
                return True
            while ready:
                flight = ready.popleft()
                self._queue.admit(1)
                jobs[flight.job] = flight
                try:
                    self._workers.prepare(flight.job, partial(self._make, flight))
                except NotReadyError as error:
                    raise OfflineError(
                        f"{str(error).removesuffix('restart the server')}remove those files, and run it again"
                    ) from error
        return False

    def _make(self, flight: _Flight) -> Tensor:
        """Return the tensor of a file; runs on a decoding thread."""
        watch = flight.job.watch
        start = time.perf_counter_ns()
        data = read_image(flight.file, self.settings.max_body_bytes)
        flight.read = time.perf_counter_ns() - start
        watch.lap("queue")
        manifest = self.servable.manifest
        with image_problems():
            image = self._reading.decode(data, [manifest.preprocess])
            watch.lap("decode")
            tensor = preprocess(image, manifest, self._reading)
        watch.lap("preprocess")
        return tensor

    def _settle(self, jobs: Sequence[Job]) -> None:
        self._finished.extend(jobs)
        if len(self._finished) >= self._quota:
            self._enough.set()

    def _collect(self, jobs: dict[Job, _Flight]) -> list[_Flight]:
        """Wait, mark the flights with an outcome, and return those with a failed backend.

        Waking this thread takes time from the worker threads, so it sleeps until there is work for it.
        """
        if len(self._finished) < self._quota:
            self._enough.wait(_PAUSE)
        self._enough.clear()
        again = []
        for _ in range(len(self._finished)):
            job = self._finished.popleft()
            flight = jobs.pop(job)
            if isinstance(job.outcome, BackendDownError) and flight.attempts < _ATTEMPTS:
                flight.attempts += 1
                flight.job = self._job()
                again.append(flight)
            else:
                flight.settled = True
        return again


@contextmanager
def running(servable: Servable, settings: Settings) -> Iterator[Runner]:
    """Yield a runner of a network over files, with the threads of a server with these settings.

    Raises:
        StartupError: the resizer or the handling of colour profiles is not available.
    """
    held = MemoryBudget(settings.max_held_bytes)
    reading = reading_of(settings, partial(_reserve, held))
    Image.init()  # loads Pillow's formats before threads use them
    with pillow_pixel_limit(settings.max_pixels):
        runner = Runner(servable, settings, reading)
        try:
            yield runner
        finally:
            runner.close()


@contextmanager
def _reserve(held: MemoryBudget, size: int, own: int) -> Iterator[None]:
    """Reserve the memory of a decode, waiting for other decodes if necessary; see MemoryBudget.reserve."""
    while True:
        try:
            held.take(size, own)
            break
        except MemoryFullError:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        held.give_back(size)


def _result(flight: _Flight) -> Result:
    laps = flight.job.watch.laps()
    milliseconds = {stage: laps[stage] / 1000 for stage in STAGES[1:]}
    milliseconds["read"] = round(flight.read / 1e6, 3)
    outcome = flight.job.outcome
    if isinstance(outcome, Inferred):
        return Result(flight.file, outcome.logits[0], "", milliseconds)
    assert outcome is not None
    return Result(flight.file, None, shown(_reason(outcome), REASON_LIMIT), milliseconds)


def _reason(outcome: BaseException) -> str:
    if isinstance(outcome, UnreadableFileError):
        return f"the file {outcome}"
    if isinstance(outcome, BackendDownError):
        return f"the backend failed {_ATTEMPTS} times on batches with this image"
    return str(outcome) if isinstance(outcome, ServiceError) else f"{type(outcome).__name__}: {outcome}"
