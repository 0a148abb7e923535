"""`python -m examples.digits.prepare PHOTO OUTPUT`: a photo of one handwritten digit as the networks know digits.

They were trained on scans of 8×8 pixels: dark, thick strokes that fill a white square. A photo has paper that is not
white, shadows, thin strokes and margins. Steps: divide by the paper's brightness, invert if the paper is dark, crop to
the ink, thicken its strokes, average to 8×8, and scale to 32×32 as the data set is.

This changes the picture, and what is not one digit stays none: look at OUTPUT before believing an answer.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from examples.digits.data import Pixels, scale

SIDE = 256
"""Pixels of the longer side that is worked on."""

CELLS = 8
FINE = 32
STROKE = 0.13
"""Width of a stroke over the side of the square: 1 pixel of 8 in the data set."""

LEAST_CONTRAST = 0.12
"""Ink over paper, between 0 and 1; below it there is only noise."""

Ink = NDArray[np.float64]


class NoDigitError(ValueError):
    """The picture has no ink on it, or too much."""


def prepare(photo: Image.Image) -> Pixels:
    """Return uint8 [32, 32, 3]: dark ink on white paper.

    Raises:
        NoDigitError: nothing stands out from the paper, or most of the picture does.
    """
    ink = find_ink(photo)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = thicken(in_a_square(cropped))
    cells = square.reshape(CELLS, FINE // CELLS, CELLS, FINE // CELLS).mean(axis=(1, 3))
    paper = np.rint(255 * (1 - cells / cells.max())).astype(np.uint8)
    return scale(paper, (FINE, FINE))


def find_ink(photo: Image.Image) -> NDArray[np.bool_]:
    """Return where a picture has ink, [rows, columns]: darker than the paper around it, or brighter on dark paper."""
    upright = ImageOps.exif_transpose(photo.convert("RGB")).convert("L")
    upright.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(upright, np.float64)
    if np.median(grey) < (grey.min() + grey.max()) / 2:  # most of it is paper
        upright = ImageOps.invert(upright)
    paper = _paper(upright)
    contrast = np.clip(1 - np.asarray(upright, np.float64) / np.maximum(paper, 1), 0, 1)
    most = float(np.quantile(contrast, 0.995))
    ink = contrast > most / 2
    if most < LEAST_CONTRAST:
        raise NoDigitError(f"nothing stands out from the paper (contrast {most:.2f}); write darker, or crop the photo")
    if ink.mean() > 0.5:
        raise NoDigitError("most of the picture is ink; leave some paper around the digit")
    return ink


def _paper(grey: Image.Image) -> Ink:
    """Return the brightness of the paper at each pixel: the brightest nearby, smoothed; shadows are paper."""
    reach = max(grey.size) // 8 * 2 + 1
    brightest = grey.filter(ImageFilter.MaxFilter(min(reach, 65)))
    return np.asarray(brightest.filter(ImageFilter.GaussianBlur(reach / 2)), np.float64)


def in_a_square(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink [rows, columns] in the middle of a square [32, 32] that it fills, its aspect ratio kept."""
    height, width = ink.shape
    longer = max(height, width)
    sides = (max(1, round(FINE * width / longer)), max(1, round(FINE * height / longer)))
    drawn = Image.fromarray(255 * ink.astype(np.uint8)).resize(sides, Image.Resampling.BOX)
    square = Image.new("L", (FINE, FINE))
    square.paste(drawn, ((FINE - sides[0]) // 2, (FINE - sides[1]) // 2))
    return np.asarray(square) > 64


def thicken(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ink with strokes of about STROKE: a stroke's width is twice its area over its outline."""
    picture = Image.fromarray(255 * ink.astype(np.uint8))
    while True:
        found = np.asarray(picture) > 0
        eroded = np.asarray(picture.filter(ImageFilter.MinFilter(3))) > 0
        outline = max(1, int(found.sum() - eroded.sum()))
        if 2 * found.sum() / outline >= STROKE * FINE or found.mean() > 0.5:
            return found
        picture = picture.filter(ImageFilter.MaxFilter(3))


def main(arguments: list[str] | None = None) -> int:
    """Prepare one photo and return 0; 1 if there is no digit to see."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.prepare")
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    try:
        with Image.open(options.photo) as photo:
            pixels = prepare(photo)
    except (OSError, NoDigitError) as error:
        print(f"error: {options.photo}: {error}", file=sys.stderr)
        return 1
    Image.fromarray(pixels).save(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
