"""Images to calibrate with and to compare on, from a directory, prepared as the service prepares what it is sent.

The steps are those of `artifact.Preprocess`; a test compares them with the service's own, which export may not import.
Shapes: n images, H and W of the network's input.
"""

import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from artifact import Preprocess
from export.errors import ExportError

LARGEST, SMALLEST = 512, 16
"""Images. Ranges of activations hardly change after a few hundred; from fewer than 16 they are chance."""

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class CalibrationImages:
    """uint8 pixels [n, H, W, 3], and the last part of the name of the directory they came from."""

    directory: str
    pixels: NDArray[np.uint8]


def load_calibration(directory: Path, steps: Preprocess) -> CalibrationImages:
    """Read the images in a directory and below it, sorted by path; of more than 512, 512 at even steps.

    Even steps, because a directory with one folder for each class would else show the first classes only.

    Raises:
        ExportError: there is no such directory, it holds fewer than 16 images, or one of them cannot be read.
    """
    if not directory.is_dir():
        raise ExportError(f"--calibration {directory} is not a directory; name one with at least {SMALLEST} images")
    files = sorted(file for file in _below(directory) if file.suffix.lower() in _SUFFIXES and file.is_file())
    if len(files) < SMALLEST:
        raise ExportError(
            f"--calibration {directory} holds {len(files)} images (JPEG, PNG, WebP or BMP), at least {SMALLEST} are "
            f"needed and at most {LARGEST} are used; take them from what the network was trained on"
        )
    if len(files) > LARGEST:
        files = [files[index * len(files) // LARGEST] for index in range(LARGEST)]
    return CalibrationImages(directory.resolve().name, np.stack([prepare(read_rgb(file), steps) for file in files]))


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


def read_rgb(file: Path) -> Image.Image:
    """Return an image file as upright RGB, transparency over white and 16-bit grey scaled to 8 bits.

    Raises:
        ExportError: the file is not an image, is damaged, or claims more pixels than Pillow allows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(file.read_bytes()), formats=_FORMATS)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except (
        *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError),  # Pillow's, on damaged files
        *(Image.DecompressionBombError, Image.DecompressionBombWarning),
    ) as error:
        raise ExportError(f"cannot read the calibration image {file}: {error}; mend or remove it") from error
    return _to_rgb(image)


def prepare(image: Image.Image, steps: Preprocess) -> NDArray[np.uint8]:
    """Return the uint8 pixels [H, W, 3] of an RGB image, resized and cropped."""
    size = steps.resized(*image.size)
    if image.size != size:
        image = image.resize(size, _RESAMPLING[steps.interpolation])
    if steps.crop is not None:
        height, width = steps.crop
        top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        grey = ((wide + 128) // 257).astype(np.uint8)  # 65535 / 257 = 255
        if "transparency" in image.info:  # the one grey value that is transparent
            grey[wide == image.info["transparency"]] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
