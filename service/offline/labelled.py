"""Labelled images: a directory with a subdirectory for each class, or a CSV file of path and label.

Labels must be labels of the network. All are checked before the first run.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from artifact.text import escaped
from service.offline.errors import LabelledImagesError, listed
from service.offline.files import ImageFile, image_files


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes, in a fixed order.

    Attributes:
        name: name of the directory or file, without its parents.
        count: number of images.
        files: returns a new iterator over the files.
    """

    name: str
    count: int
    files: Callable[[], Iterator[ImageFile]]


def find_labelled(path: Path, labels: Sequence[str]) -> LabelledImages:
    """Return the labelled images at `path`, a directory or a CSV file.

    Args:
        path: directory or CSV file. Paths in a CSV file are relative to it; its header is `path,label`, or `path,index`
            for class indices from 0.
        labels: labels of the network, in class order.

    Raises:
        LabelledImagesError: `path` cannot be read, there are no images, or a label is not one of the network's, in
            which case both are listed.
    """
    try:
        files = _of_directory(path, labels) if path.is_dir() else _of_table(path, labels)
        count = sum(1 for _ in files())
    except OSError as error:
        raise LabelledImagesError(f"cannot read {path}: {error.strerror or error}") from error
    if not count:
        raise LabelledImagesError(
            f"{path} contains no images; expected a subdirectory for each class with images in it, or a CSV file with "
            "rows of path and label"
        )
    return LabelledImages(path.resolve().name, count, files)


def _of_directory(path: Path, labels: Sequence[str]) -> Callable[[], Iterator[ImageFile]]:
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    remedy = "rename them, or give a CSV file with path,index"
    classes = _classes(names, labels, f"{path} has subdirectories", remedy)

    def files() -> Iterator[ImageFile]:
        for name in names:
            for file in image_files([path / name]):
                yield replace(file, class_index=classes[name])

    return files


def _of_table(path: Path, labels: Sequence[str]) -> Callable[[], Iterator[ImageFile]]:
    if path.exists() and not path.is_file():
        raise LabelledImagesError(
            f"{path} is not a regular file; it is read several times, so write its rows to a file"
        )
    kind = _kind(path)
    found: dict[str, None] = {}
    for _, label in _rows(path):
        found.setdefault(label)
    known = labels if kind == "label" else [str(index) for index in range(len(labels))]
    remedy = "correct them, or give path,index" if kind == "label" else "correct them"
    classes = _classes(list(found), known, f"{path} has {kind} values", remedy)

    def files() -> Iterator[ImageFile]:
        for name, label in _rows(path):
            yield ImageFile(os.fspath(path.parent / name), classes[label])

    return files


def _kind(path: Path) -> str:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        header = next(csv.reader(file), [])
    if header not in (["path", "label"], ["path", "index"]):
        raise LabelledImagesError(
            f"{path} begins with {escaped(','.join(header))[:200]!r}, expected the header path,label or path,index"
        )
    return header[1]


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file, strict=True)
        next(reader)
        try:
            for row in reader:
                if len(row) != 2 or not row[0]:
                    raise LabelledImagesError(f"{path}, line {reader.line_num}: expected a path and a label")
                yield row[0], row[1]
        except csv.Error as error:
            raise LabelledImagesError(f"{path}, line {reader.line_num}: {error}") from error


def _classes(names: list[str], labels: Sequence[str], what: str, remedy: str) -> dict[str, int]:
    """Return the class of each name. Raises LabelledImagesError."""
    classes = {label: index for index, label in enumerate(labels)}
    unknown = [escaped(name) for name in names if name not in classes]
    if unknown:
        raise LabelledImagesError(
            f"{what} that are not labels of the network: {listed(unknown)}; its labels are {listed(list(labels))}; "
            f"{remedy}"
        )
    counts = Counter(labels)
    twice = [name for name in names if counts[name] > 1]
    if twice:
        raise LabelledImagesError(
            f"several classes of the network have the label {listed(twice)}; give a CSV file with path,index"
        )
    return {name: classes[name] for name in names}
