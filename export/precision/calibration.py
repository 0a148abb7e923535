"""Calibration images, preprocessed by `imaging` in the same way as the service preprocesses uploaded files.

The service's defaults apply: the resizer is `auto`, JPEGs are decoded exactly, colour profiles are ignored.
Shapes: n images, H and W of the network's input.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifact import Preprocess
from export.process.errors import ExportError
from imaging.decode import pillow_pixel_limit
from imaging.errors import FORMATS, ImageError
from imaging.formats.signatures import SUFFIXES
from imaging.preprocess import Reading
from imaging.resizers import find_resizer

LARGEST, SMALLEST = 512, 16
"""Most and fewest images. Activation ranges hardly change after a few hundred; fewer than 16 are not reliable."""
MAX_PIXELS = 100_000_000
"""Pixels of the largest image. Decoding uses up to 12 bytes per pixel."""


@dataclass(frozen=True)
class CalibrationImages:
    """uint8 pixels [n, H, W, 3], and the last part of the name of the directory they came from."""

    directory: str
    pixels: NDArray[np.uint8]


def load_calibration(directory: Path, steps: Preprocess) -> CalibrationImages:
    """Read the images in a directory and below it, sorted by path; of more than 512, 512 at even steps.

    Even steps, because a directory with one folder per class would otherwise yield only the first classes.

    Raises:
        ExportError: there is no such directory, it holds fewer than 16 images, or one of them cannot be read.
    """
    if not directory.is_dir():
        raise ExportError(f"--calibration {directory} is not a directory; name one with at least {SMALLEST} images")
    files = sorted(file for file in _below(directory) if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < SMALLEST:
        raise ExportError(
            f"--calibration {directory} holds {len(files)} images ({FORMATS}), at least {SMALLEST} are needed "
            f"and at most {LARGEST} are used; take them from what the network was trained on"
        )
    if len(files) > LARGEST:
        files = [files[index * len(files) // LARGEST] for index in range(LARGEST)]
    with pillow_pixel_limit(MAX_PIXELS):
        reading = Reading(MAX_PIXELS, find_resizer("auto"))
        return CalibrationImages(directory.resolve().name, np.stack([_read(file, steps, reading) for file in files]))


def _below(directory: Path) -> Iterator[Path]:
    """Yield the files in a directory and below it; links to folders are followed, each folder once."""
    seen: set[Path] = set()
    for folder, folders, files in os.walk(directory, followlinks=True):
        place = Path(folder)
        if place.resolve() in seen:
            folders.clear()
            continue
        seen.add(place.resolve())
        yield from (place / name for name in files)


def _read(file: Path, steps: Preprocess, reading: Reading) -> NDArray[np.uint8]:
    try:
        return reading.pixels(reading.decode(file.read_bytes(), [steps]), steps)
    except (ImageError, OSError) as error:
        raise ExportError(f"cannot read the calibration image {file}: {error}; repair or remove it") from error
