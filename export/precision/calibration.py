"""Calibration images, preprocessed by `imaging` as in the service.

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
"""Maximum and minimum number of images. Activation ranges hardly change after a few hundred images."""
MAX_PIXELS = 100_000_000
"""Maximum number of pixels per image. Decoding uses up to 12 bytes per pixel."""


@dataclass(frozen=True)
class CalibrationImages:
    """Pixels as uint8 [n, H, W, 3], and the name of the directory without its parents."""

    directory: str
    pixels: NDArray[np.uint8]


def load_calibration(directory: Path, steps: Preprocess) -> CalibrationImages:
    """Read at most 512 images of a directory and its subdirectories, at even steps of the sorted paths.

    With even steps, all classes of a directory with one folder per class are covered.

    Raises:
        ExportError: the directory does not exist or has fewer than 16 images, or an image cannot be read.
    """
    if not directory.is_dir():
        raise ExportError(f"--calibration {directory} is not a directory; give one with at least {SMALLEST} images")
    files = sorted(file for file in _below(directory) if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < SMALLEST:
        raise ExportError(
            f"--calibration {directory} contains {len(files)} images ({FORMATS}); at least {SMALLEST} are required and "
            f"at most {LARGEST} are used; use training images"
        )
    if len(files) > LARGEST:
        files = [files[index * len(files) // LARGEST] for index in range(LARGEST)]
    with pillow_pixel_limit(MAX_PIXELS):
        reading = Reading(MAX_PIXELS, find_resizer("auto"))
        return CalibrationImages(directory.resolve().name, np.stack([_read(file, steps, reading) for file in files]))


def _below(directory: Path) -> Iterator[Path]:
    """Yield the files of a directory and its subdirectories; symbolic links are followed, each directory once."""
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
