"""Accuracy of variants on labelled images, one variant after the other."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path

from artifact import Accuracy, Artifact, Location, check_recordable, read_artifact, record_accuracy
from artifact.text import shown
from service.offline.errors import LabelledImagesError
from service.offline.labelled import LabelledImages, find_labelled
from service.offline.opening import running_here
from service.offline.predicting import Runs
from service.offline.progress import Track
from service.offline.scoring import PairedComparison, Score, compare, judge
from service.offline.stopping import Stopping
from service.settings import Settings


@dataclass(frozen=True)
class Evaluation:
    """Scores of one variant.

    Attributes:
        artifact: the version.
        backend: its backend.
        processes: number of processes of the run.
        images: images of the run.
        score: counts.
        seconds: duration of the run, without loading.
    """

    artifact: Artifact
    backend: str
    processes: int
    images: LabelledImages
    score: Score
    seconds: float

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.artifact.manifest.variant

    @property
    def images_per_second(self) -> float:
        """Throughput."""
        return len(self.score.marks) / self.seconds

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy as in a manifest."""
        return Accuracy(dataset=self.images.name, top1=self.score.right / self.score.count, count=self.score.count)


@dataclass
class Findings:
    """Evaluations of finished variants, and the tests between them."""

    evaluations: list[Evaluation] = field(default_factory=list)

    def comparisons(self) -> list[PairedComparison]:
        """Return McNemar's test of each pair. Raises LabelledImagesError."""
        pairs = combinations(self.evaluations, 2)
        return [compare(one.variant, one.score, other.variant, other.score) for one, other in pairs]

    @property
    def excluded(self) -> int:
        """Number of images that could not be read or run, summed over all variants."""
        return sum(one.score.excluded for one in self.evaluations)


def check_all(
    path: Path, locations: Iterable[Location], dataset: str | None, *, record: bool
) -> list[tuple[Location, LabelledImages]]:
    """Return the images for each variant, after all checks that would otherwise fail late.

    Args:
        path: path of the images.
        locations: locations of the variants.
        dataset: name of the images; None is that of the directory or file.
        record: whether the accuracy is to be recorded.

    Raises:
        LabelledImagesError: as `find_labelled`; or the task is not single-label.
        RecordingError: as `check_recordable`.
        ArtifactError: a variant is damaged.
    """
    checked = []
    for location in locations:
        artifact = read_artifact(location.path)
        if artifact.manifest.task != "single-label":
            raise LabelledImagesError(
                f"{location} has task {artifact.manifest.task}; accuracy is defined for task single-label"
            )
        if record:
            check_recordable(location.path)
        images = find_labelled(path, artifact.labels)
        name = shown(dataset or images.name)  # a manifest accepts no long names, and only UTF-8
        checked.append((location, LabelledImages(name, images.count, images.files)))
    return checked


def evaluate(
    checked: Iterable[tuple[Location, LabelledImages]],
    settings: Settings,
    processes: int | None,
    stopping: Stopping,
    track: Track,
    findings: Findings,
    *,
    record: bool,
) -> Iterator[Evaluation]:
    """Run each variant over its images, and yield its evaluation, which is also added to `findings`.

    Args:
        checked: result of `check_all`.
        settings: settings of the service.
        processes: number of processes; None for the default of `running_here`.
        stopping: stops the run of a variant, which then does not count.
        track: shows the progress.
        findings: receives each evaluation.
        record: whether to write the accuracy into the manifest.

    Raises:
        ServiceError: a variant cannot be loaded or run.
        LabelledImagesError: none of the images could be read.
        RecordingError: the accuracy cannot be recorded.
        StoppedError: a signal came.
    """
    for location, images in checked:
        with running_here(location, settings, processes, images.files()) as runner:
            evaluation = _evaluate(runner, images, stopping, track)
        if not evaluation.score.count:
            first = "".join(f"; of the first, {path}: {reason}" for path, reason in evaluation.score.errors[:1])
            raise LabelledImagesError(f"none of {images.count} images could be run{first}")
        findings.evaluations.append(evaluation)
        if record:
            record_accuracy(location.path, evaluation.accuracy, evaluation.artifact.manifest)
        yield evaluation


def _evaluate(runner: Runs, images: LabelledImages, stopping: Stopping, track: Track) -> Evaluation:
    score, labels = Score(), runner.artifact.labels
    with stopping.deferred():
        start = time.perf_counter()
        with track(runner.run(images.files(), partial(judge, labels), stopping), lambda: images.count) as judged:
            for image in judged:
                score.add(image)
        seconds = time.perf_counter() - start
    return Evaluation(runner.artifact, runner.backend, runner.processes, images, score, seconds)
