"""Predictions of one network for many files, appended to an output that can be resumed."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from service.catalogue.catalogue import Servable
from service.offline.files import ImageFile, image_files
from service.offline.output import appending
from service.offline.rows import FORMATS, artifact_name
from service.offline.running import Result, running
from service.offline.stopping import Stopping
from service.settings import Settings

Track = Callable[[Iterator[Result], Callable[[], int]], AbstractContextManager[Iterator[Result]]]
"""Wraps results, given a function for their count, in a progress bar."""


@dataclass
class PredictionSummary:
    """Counts of a run; they may be read at any time.

    Attributes:
        artifact: `<model>/<variant>/<version>`.
        backend: its backend.
        output: the file.
        written: number of rows added, including errors.
        skipped: number of files already in the output.
        errors: number of rows without prediction.
        seconds: duration of the run, without loading.
    """

    artifact: str
    backend: str
    output: str
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
            f"{self.images_per_second:.0f} images/s ({self.artifact}, {self.backend})"
        )


@dataclass(frozen=True)
class Request:
    """Arguments of a run: files and directories, the output, and the number of classes in a row."""

    paths: tuple[Path, ...]
    output: Path
    top_k: int


def predict_files(
    request: Request,
    servable: Servable,
    settings: Settings,
    stopping: Stopping,
    track: Track,
    summary: PredictionSummary,
) -> None:
    """Run a network over files, and append a row for each that is not in the output.

    Args:
        request: the suffix of its output is one of FORMATS.
        servable: the network.
        settings: settings of the service.
        stopping: once requested, only started files are finished.
        track: shows the progress.
        summary: receives the counts.

    Raises:
        OfflineError: the output cannot be written or resumed, or the backend fails.
        StoppedError: a signal came.
    """
    form = FORMATS[request.output.suffix.lower()](servable.manifest, servable.artifact.labels, request.top_k)

    def left() -> Iterator[ImageFile]:
        return (file for file in image_files(request.paths) if file.path not in output.done)

    def counted() -> Iterator[ImageFile]:
        for file in image_files(request.paths):
            if file.path in output.done:
                summary.skipped += 1
            else:
                yield file

    with (
        stopping.deferred(),
        appending(request.output, form, artifact_name(servable.manifest)) as output,
        running(servable, settings) as runner,
    ):
        start = time.perf_counter()
        with track(runner.run(counted(), stopping), lambda: sum(1 for _ in left())) as results:
            for result in results:
                output.add(form.row(result))
                summary.written += 1
                summary.errors += result.output is None
                summary.seconds = time.perf_counter() - start
