"""Scores of one variant over labelled images: top-1, top-5, recall of each class, confusion matrix."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.offline.errors import LabelledImagesError
from service.offline.running import Result
from service.offline.statistics import mcnemar, wilson
from service.ranking import rank

WRONG, RIGHT, EXCLUDED = 0, 1, 2
"""Result of an image: wrong or right top-1 class, or not readable."""

_FIRST_ERRORS = 20


class Judged(NamedTuple):
    """Classes of one image.

    Attributes:
        path: path of its file.
        wanted: index of its label.
        best: indices of the five most probable classes, best first; empty after an error.
        error: printable reason; empty if there are classes.
    """

    path: str
    wanted: int
    best: tuple[int, ...]
    error: str

    @property
    def failed(self) -> bool:
        """True if the file could not be read or run."""
        return not self.best


def judge(labels: Sequence[str], result: Result) -> Judged:
    """Return the classes of an image, given the labels of the network."""
    best = () if result.output is None else tuple(found.index for found in rank(result.output, labels, 5))
    return Judged(result.file.path, result.file.class_index, best, result.error)


@dataclass
class Score:
    """Counts of one variant. Memory: one byte per image, and a number for each occurring pair of classes."""

    marks: bytearray = field(default_factory=bytearray)
    """WRONG, RIGHT or EXCLUDED, in the order of the images."""
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Number of images by true and predicted class."""
    top5: int = 0
    """Number of images with their class among the five most probable."""
    paths: hashlib.blake2b = field(default_factory=hashlib.blake2b)
    """Digest of all paths, in order."""
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of the first files that could not be read."""

    def add(self, image: Judged) -> None:
        """Add the next image."""
        self.paths.update(os.fsencode(image.path) + b"\0")
        if image.failed:
            self.marks.append(EXCLUDED)
            if len(self.errors) < _FIRST_ERRORS:
                self.errors.append((image.path, image.error))
            return
        first = image.best[0]
        self.marks.append(RIGHT if first == image.wanted else WRONG)
        self.pairs[image.wanted, first] += 1
        self.top5 += image.wanted in image.best

    @property
    def count(self) -> int:
        """Number of classified images, without unreadable ones."""
        return len(self.marks) - self.excluded

    @property
    def excluded(self) -> int:
        """Number of images that could not be read or run."""
        return self.marks.count(EXCLUDED)

    @property
    def right(self) -> int:
        """Number of images with a correct top-1 class."""
        return self.marks.count(RIGHT)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval (Wilson) of the top-1 accuracy."""
        return wilson(self.right, self.count)

    def recall(self, classes: int) -> list[tuple[int, int]]:
        """Return, for each class, the number of correct images and of all images."""
        right, count = [0] * classes, [0] * classes
        for (wanted, found), images in self.pairs.items():
            count[wanted] += images
            right[wanted] += images if wanted == found else 0
        return list(zip(right, count, strict=True))


@dataclass(frozen=True)
class PairedComparison:
    """McNemar's test of two variants, over the images that both ran."""

    first: str
    second: str
    first_only: int
    """Number of images that only the first classifies correctly."""
    second_only: int
    p: float


def compare(first: str, one: Score, second: str, other: Score) -> PairedComparison:
    """Return McNemar's test of two scores of the same images.

    Raises:
        LabelledImagesError: the images were not the same.
    """
    if one.paths.digest() != other.paths.digest():
        raise LabelledImagesError(
            f"the images changed between the runs of {first} and {second}, so they cannot be compared; evaluate again"
        )
    pairs = Counter(zip(one.marks, other.marks, strict=True))
    first_only, second_only = pairs[RIGHT, WRONG], pairs[WRONG, RIGHT]
    return PairedComparison(first, second, first_only, second_only, mcnemar(first_only, second_only))
