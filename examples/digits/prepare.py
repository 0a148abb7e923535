"""`python -m examples.digits.prepare PHOTO OUTPUT`: convert a photo of a digit to the style of the training data.

The digits networks were trained on scans of 8×8 pixels: dark, thick strokes that fill a white square from top to
bottom. Photos have grey or dark paper, shadows, thin strokes and margins. Steps: estimate the brightness of the paper,
invert if the paper is dark, keep the largest symbol, scale it to the height of the square, average to 8×8, darken to
the data set's mean ink, and scale to 32×32.

Preparation cannot recover a digit that is not in the photo, so check OUTPUT before trusting a prediction. The page at
`/` has the same steps (`service/web/static/prepare.js`).

Shapes: images are [rows, columns]; contrast is ink over paper, from 0 (paper) to 1 (black).
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
"""Longer side during processing, in pixels."""

CELLS = 8
FINE = 64
WIDEST = 0.72
"""Largest width of a symbol relative to its height, the mean of the data set."""

INK = 0.29
"""Mean ink of a prepared digit, 0.305 in the data set."""

LEAST_CONTRAST = 0.12
"""Contrast below which a photo is considered empty."""

CERTAIN, POSSIBLE = 0.5, 0.3
"""Thresholds relative to the highest contrast: ink is above POSSIBLE and connected to a pixel above CERTAIN."""

STRONGEST = 60
"""Number of pixels that define the highest contrast, because a single pixel may be noise."""

SPECK = 0.05
"""Area relative to the largest part, below which a part is ignored as dirt."""

GAP = 0.12
"""Largest distance between parts of one symbol (such as a 5) relative to its height."""

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]
EIGHT = np.ones((3, 3))


class NoDigitError(ValueError):
    """No ink in the image, or too much."""


@dataclass(frozen=True)
class Prepared:
    """A prepared photo.

    Attributes:
        pixels: uint8 [32, 32, 3], dark ink on white paper.
        signs: number of separate symbols in the photo; the largest is prepared.
    """

    pixels: Pixels
    signs: int


def prepare(photo: Image.Image) -> Prepared:
    """Return the largest symbol of a photo in the style of the training data.

    Raises:
        NoDigitError: the photo has no ink, or most of it is ink.
    """
    sign, signs = largest_sign(find_ink(photo))
    cells = as_scan(sign)
    return Prepared(scale(np.rint(255 * (1 - cells)).astype(np.uint8), (32, 32)), signs)


def find_ink(photo: Image.Image) -> Mask:
    """Return a mask of the ink: darker than the paper around it, or brighter on dark paper.

    Raises:
        NoDigitError: the photo has no ink, or most of it is ink.
    """
    small = ImageOps.exif_transpose(photo.convert("RGB")).convert("L")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    size = max(grey.shape) // 8 * 2 + 1
    if ((grey - ndimage.uniform_filter(grey, size, mode="nearest")) ** 3).sum() > 0:
        grey = 255 - grey  # the strongest local difference is bright; the sides of a shadow's edge cancel
    grey = ndimage.uniform_filter(grey, 3, mode="nearest")
    contrast = np.clip(1 - grey / np.maximum(paper_behind(grey, size), 1), 0, 1)
    strongest = min(STRONGEST, 1 + contrast.size // 100)
    most = float(np.partition(contrast, -strongest, axis=None)[-strongest])
    if most < LEAST_CONTRAST:
        raise NoDigitError(f"no ink found (contrast {most:.2f}); write darker, or crop the photo")
    parts, count = ndimage.label(contrast > POSSIBLE * most, EIGHT)
    certain = ndimage.maximum(contrast, parts, np.arange(1, count + 1)) > CERTAIN * most
    ink: Mask = np.concatenate([[False], certain])[parts]
    if ink.mean() > 0.5:
        raise NoDigitError("most of the photo is ink; leave some paper around the digit")
    return ink


def paper_behind(grey: Numbers, size: int) -> Numbers:
    """Return the brightness of the paper at each pixel: a closing, which removes strokes and keeps edges of shadows."""
    closed: Numbers = ndimage.minimum_filter(ndimage.maximum_filter(grey, size, mode="nearest"), size, mode="nearest")
    return closed


def largest_sign(ink: Mask) -> tuple[Mask, int]:
    """Return the largest symbol, cropped, and the number of symbols.

    Parts that touch the border are ignored if there are others: they are the table's edge or another symbol.
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
    """Crop to the ink."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def as_scan(ink: Mask) -> Numbers:
    """Return the symbol as contrast [8, 8], filling the square from top to bottom, with a scan's mean ink."""
    height, width = ink.shape
    across = min(max(1, round(FINE * width / height)), round(WIDEST * FINE))
    drawn = Image.fromarray(255 * ink.astype(np.uint8)).resize((across, FINE), Image.Resampling.BOX)
    square = np.zeros((FINE, FINE))
    left = (FINE - across) // 2
    square[:, left : left + across] = np.asarray(drawn) / 255
    cells = square.reshape(CELLS, FINE // CELLS, CELLS, FINE // CELLS).mean(axis=(1, 3))
    low, high = 1.0, 64.0
    for _ in range(20):  # bisection
        factor = (low + high) / 2
        low, high = (factor, high) if np.minimum(1, factor * cells).mean() < INK else (low, factor)
    contrast: Numbers = np.minimum(1, high * cells)
    return contrast


def main(arguments: list[str] | None = None) -> int:
    """Prepare one photo and return 0, or 1 if no digit is found."""
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
        print(f"note: {prepared.signs} symbols; the largest is used, crop the photo for another", file=sys.stderr)
    Image.fromarray(prepared.pixels).save(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
