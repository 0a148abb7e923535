"""Predictions of one network for many files, appended to an output that can be resumed."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from artifact import Artifact
from service.offline.files import ImageFile, image_files
from service.offline.formats import format_of
from service.offline.output import Output
from service.offline.progress import Track
from service.offline.rows import Format, artifact_name
from service.offline.running import Result
from service.offline.stopping import Stopping

T = TypeVar("T")


class Row(NamedTuple):
    """Row of the output.

    Attributes:
        content: bytes with the end of line.
        failed: whether it has a reason instead of a prediction.
    """

    content: bytes
    failed: bool


class Runs(Protocol):
    """Runs one network over files.

    `running.Runner` in this process, `processes.ProcessRunner` in several, `cluster.ClusterRunner` on a cluster.
    """

    @property
    def artifact(self) -> Artifact:
        """The artifact."""

    @property
    def processes(self) -> int:
        """Number of processes that run the network; on a cluster, the maximum."""

    @property
    def backend(self) -> str:
        """Name of the backend; empty before anything was run, if it is not known until then."""

    def run(self, files: Iterable[ImageFile], make: Callable[[Result], T], stopping: Stopping) -> Iterator[T]:
        """Yield `make` of the result of each file, in their order; once `stopping`, only of those that have begun.

        `make` is called in the process that ran the network, so it and its value must be picklable.
        """


@dataclass
class PredictionSummary:
    """Counts of a run; they may be read at any time.

    Attributes:
        artifact: `<model>/<variant>/<version>`.
        output: the file.
        backend: name of the backend.
        processes: see Runs; 0 before the network is opened.
        written: number of rows added to the output, including errors.
        skipped: number of files already in the output.
        errors: number of rows without prediction.
        seconds: duration of the run, without loading.
    """

    artifact: str
    output: str
    backend: str = ""
    processes: int = 0
    written: int = 0
    skipped: int = 0
    errors: int = 0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Throughput; 0 if nothing was run."""
        return self.written / self.seconds if self.written else 0.0

    def as_json(self) -> dict[str, object]:
        """Return a JSON object."""
        return {**asdict(self), "images_per_second": self.images_per_second}

    def __str__(self) -> str:
        rest = f", {self.skipped} skipped" if self.skipped else ""
        return (
            f"{self.output}: {self.written} rows, {self.errors} of them errors{rest}; {self.seconds:.1f} s, "
            f"{self.images_per_second:.0f} images/s ({', '.join(filter(None, (self.artifact, self.backend)))})"
        )


@dataclass(frozen=True)
class Request:
    """Arguments of a run: files and directories, the output, and the number of classes in a row."""

    paths: tuple[Path, ...]
    output: Path
    top_k: int


def predict_files(request: Request, runner: Runs, stopping: Stopping, track: Track, summary: PredictionSummary) -> None:
    """Run a network over files, and append a row for each that is not in the output.

    Args:
        request: the suffix of its output is one of FORMATS.
        runner: runs the network.
        stopping: once requested, only started files are finished.
        track: shows the progress.
        summary: receives the counts.

    Raises:
        OfflineError: the output cannot be written or resumed, or the network cannot be run.
        StoppedError: a signal came.
    """
    rows, open_output = format_of(request.output)
    artifact = runner.artifact
    form = rows(artifact.manifest, artifact.labels, request.top_k)
    summary.processes = runner.processes

    def left() -> Iterator[ImageFile]:
        return (file for file in image_files(request.paths) if file.path not in output.done)

    def counted() -> Iterator[ImageFile]:
        for file in image_files(request.paths):
            if file.path in output.done:
                summary.skipped += 1
            else:
                yield file

    opened = open_output(request.output, form, artifact_name(artifact.manifest))
    with stopping.deferred(), _counting(opened, summary) as output:
        start = time.perf_counter()
        with track(runner.run(counted(), partial(_row, form), stopping), lambda: sum(1 for _ in left())) as added:
            for row in added:
                output.add(row.content, failed=row.failed)
                summary.backend = runner.backend
                summary.seconds = time.perf_counter() - start


@contextmanager
def _counting(opened: AbstractContextManager[Output], summary: PredictionSummary) -> Iterator[Output]:
    """Open an output, and count its new rows when it is closed: on a full disk, rows not yet written are lost."""
    output = None
    try:
        with opened as output:
            yield output
    finally:
        if output is not None:
            summary.written, summary.errors = output.written, output.errors


def _row(form: Format, result: Result) -> Row:
    return Row(form.row(result), failed=result.output is None)
