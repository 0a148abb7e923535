"""`python -m examples.digits.prepare PHOTO OUTPUT`: convert a photo of a digit to the style of the training data.

The digits networks were trained on scans of 8×8 pixels: dark, thick strokes that fill a white square from top to
bottom. A photo has grey or dark paper, shadows, thin strokes and margins. Steps: estimate the paper behind the
ink, invert if the paper is dark, keep the largest sign, scale it to the height of the square, average
to 8×8, darken to the ink that a scan has, and scale to 32×32 as the data set is.

This changes the picture, and a photo of anything else does not become a digit: check OUTPUT before trusting a
prediction. The page at `/` takes the same steps (`service/web/static/prepare.js`).

Shapes: pictures are [rows, columns]; contrast is ink over paper, from 0 (paper) to 1 (black).
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from examples.digits.data import Pixels, scale

SIDE = 384
"""Pixels of the longer side during processing."""

CELLS = 8
FINE = 64
WIDEST = 0.72
"""Width of a sign over its height, at most: the mean of the data set's digits."""

INK = 0.29
"""Mean ink of a prepared digit, 0.305 in the data set."""

LEAST_CONTRAST = 0.12
"""Contrast below which a photo contains only noise."""

CERTAIN, POSSIBLE = 0.5, 0.3
"""Shares of the highest contrast: ink is what is above POSSIBLE and connected to what is above CERTAIN."""

STRONGEST = 60
"""The highest contrast is that of this many pixels, because one pixel may be noise."""

SPECK = 0.05
"""Area over that of the largest part, below which a part is dirt."""

GAP = 0.12
"""Parts of one sign are at most this share of its height apart, as those of a 5 may be."""

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
EIGHT = np.ones((3, 3))


class NoDigitError(ValueError):
    """The picture has no ink on it, or too much."""


@dataclass(frozen=True)
class Prepared:
    """A prepared photo.

    Attributes:
        pixels: uint8 [32, 32, 3], dark ink on white paper.
        signs: number of separate signs in the photo; the largest is prepared.
    """

    pixels: Pixels
    signs: int


def prepare(photo: Image.Image) -> Prepared:
    """Return the largest sign of a photo as the networks know digits.

    Raises:
        NoDigitError: nothing stands out from the paper, or most of the picture does.
    """
    sign, signs = largest_sign(find_ink(photo))
    cells = as_scan(sign)
    return Prepared(scale(np.rint(255 * (1 - cells)).astype(np.uint8), (32, 32)), signs)


def find_ink(photo: Image.Image) -> Mask:
    """Return where a picture has ink: darker than the paper around it, or brighter on dark paper.

    Raises:
        NoDigitError: nothing stands out from the paper, or most of the picture does.
    """
    small = ImageOps.exif_transpose(photo.convert("RGB")).convert("L")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    size = max(grey.shape) // 8 * 2 + 1
    if ((grey - ndimage.uniform_filter(grey, size, mode="nearest")) ** 3).sum() > 0:
        grey = 255 - grey  # what differs most from its surroundings is brighter; both sides of a shadow's edge cancel
    grey = ndimage.uniform_filter(grey, 3, mode="nearest")
    contrast = np.clip(1 - grey / np.maximum(paper_behind(grey, size), 1), 0, 1)
    strongest = min(STRONGEST, 1 + contrast.size // 100)
    most = float(np.partition(contrast, -strongest, axis=None)[-strongest])
    if most < LEAST_CONTRAST:
        raise NoDigitError(f"nothing stands out from the paper (contrast {most:.2f}); write darker, or crop the photo")
    parts, count = ndimage.label(contrast > POSSIBLE * most, EIGHT)
    certain = ndimage.maximum(contrast, parts, np.arange(1, count + 1)) > CERTAIN * most
    ink: Mask = np.concatenate([[False], certain])[parts]
    if ink.mean() > 0.5:
        raise NoDigitError("most of the picture is ink; leave some paper around the digit")
    return ink


def paper_behind(grey: Numbers, size: int) -> Numbers:
    """Return the brightness of the paper at each pixel: a closing, which fills strokes and keeps edges of shadows."""
    closed: Numbers = ndimage.minimum_filter(ndimage.maximum_filter(grey, size, mode="nearest"), size, mode="nearest")
    return closed


def largest_sign(ink: Mask) -> tuple[Mask, int]:
    """Return the largest sign, cropped, and the number of signs.

    Parts that touch the border are left out where others do not, because they are the table's edge or another sign.
    """
    parts, count = ndimage.label(ink, EIGHT)
    boxes = ndimage.find_objects(parts)
    areas = ndimage.sum_labels(ink, parts, np.arange(1, count + 1))
    inside = [
        all(side.start > 0 and side.stop < end for side, end in zip(box, ink.shape, strict=True)) for box in boxes
    ]
    is_candidate = np.array(inside) if any(inside) else np.ones(count, bool)
    is_part = is_candidate & (areas >= SPECK * areas[is_candidate].max())
    tallest = max(box[0].stop - box[0].start for box, kept in zip(boxes, is_part, strict=True) if kept)
    kept: Mask = np.concatenate([[False], is_part])[parts]
    near = max(1, round(GAP * tallest / 2))
    groups, signs = ndimage.label(ndimage.maximum_filter(kept, 2 * near + 1, mode="constant"))
    largest = 1 + int(np.argmax(ndimage.sum_labels(kept, groups, np.arange(1, signs + 1))))
    return cropped(kept & (groups == largest)), signs


def cropped(ink: Mask) -> Mask:
    """Return ink without the empty rows and columns around it."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def as_scan(ink: Mask) -> Numbers:
    """Return contrast [8, 8] of a sign that fills a square from top to bottom, with as much ink as a scan has."""
    height, width = ink.shape
    across = min(max(1, round(FINE * width / height)), round(WIDEST * FINE))
    drawn = Image.fromarray(255 * ink.astype(np.uint8)).resize((across, FINE), Image.Resampling.BOX)
    square = np.zeros((FINE, FINE))
    left = (FINE - across) // 2
    square[:, left : left + across] = np.asarray(drawn) / 255
    cells = square.reshape(CELLS, FINE // CELLS, CELLS, FINE // CELLS).mean(axis=(1, 3))
    low, high = 1.0, 64.0
    for _ in range(20):  # the factor is found by bisection
        factor = (low + high) / 2
        low, high = (factor, high) if np.minimum(1, factor * cells).mean() < INK else (low, factor)
    contrast: Numbers = np.minimum(1, high * cells)
    return contrast


def main(arguments: list[str] | None = None) -> int:
    """Prepare one photo and return 0; 1 if there is no digit to see."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.prepare")
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    try:
        with Image.open(options.photo) as photo:
            prepared = prepare(photo)
    except (OSError, NoDigitError) as error:
        print(f"error: {options.photo}: {error}", file=sys.stderr)
        return 1
    if prepared.signs > 1:
        print(f"note: {prepared.signs} signs; the largest is prepared, crop the photo for another", file=sys.stderr)
    Image.fromarray(prepared.pixels).save(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
