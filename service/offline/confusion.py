"""Confusion matrix: rows are the classes of images, columns the predicted classes."""

import csv
from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pairs = Mapping[tuple[int, int], int]
"""Number of images by true and predicted class."""

_MOST_CELLS = 2000
"""Maximum number of classes of a matrix that is written completely: 4 million numbers."""

_PIXELS = 1000
"""Approximate side of the drawn matrix in pixels."""

_NAMED = 40
"""Maximum number of classes with labels and counts in the image."""

_MARGIN, _FONT = 160, 14
_WHITE, _BLUE, _BLACK = np.array([255, 255, 255]), np.array([8, 48, 107]), (0, 0, 0)


def write_matrix(pairs: Pairs, labels: Sequence[str], file: TextIO) -> None:
    """Write the matrix as CSV, labels in the first row and column.

    For more than 2,000 classes, only occurring pairs are listed: label, predicted, images.
    """
    writer = csv.writer(file)
    if len(labels) > _MOST_CELLS:
        writer.writerow(["label", "predicted", "images"])
        writer.writerows([labels[row], labels[column], images] for (row, column), images in sorted(pairs.items()))
        return
    writer.writerow(["", *labels])
    indices = range(len(labels))
    writer.writerows([labels[row], *(pairs.get((row, column), 0) for column in indices)] for row in indices)


def draw(pairs: Pairs, labels: Sequence[str]) -> Image.Image:
    """Draw the matrix: the darker a cell, the larger its share of its row.

    For more than 1,000 classes, neighbours share a cell.
    """
    cells = min(len(labels), _PIXELS)
    counts = np.zeros((cells, cells), np.int64)
    for (row, column), images in pairs.items():
        counts[row * cells // len(labels), column * cells // len(labels)] += images
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # [cells, cells]
    colours = _WHITE + np.sqrt(shares)[..., np.newaxis] * (_BLUE - _WHITE)
    side = max(1, _PIXELS // cells)
    matrix = np.repeat(np.repeat(np.rint(colours).astype(np.uint8), side, axis=0), side, axis=1)
    picture = Image.new("RGB", (_MARGIN + side * cells, _MARGIN + side * cells), (255, 255, 255))
    picture.paste(Image.fromarray(matrix), (_MARGIN, _MARGIN))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    pen.text((10, 10), "rows: class\ncolumns: predicted", _BLACK, font)
    pen.rectangle((_MARGIN - 1, _MARGIN - 1, *(length - 1 for length in picture.size)), outline=_BLACK)
    if len(labels) <= _NAMED:
        _write_labels(picture, labels, side, font)
        _write_counts(pen, counts, shares, side, font)
    return picture


def _write_labels(
    picture: Image.Image, labels: Sequence[str], side: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> None:
    for place, label in enumerate(labels):
        strip = Image.new("RGB", (_MARGIN - 4, side), (255, 255, 255))
        ImageDraw.Draw(strip).text((_MARGIN - 10, side // 2), label[:_NAMED], _BLACK, font, anchor="rm")
        picture.paste(strip, (0, _MARGIN + place * side))
        if place or side > _FONT:  # the corner has the legend
            picture.paste(strip.rotate(270, expand=True), (_MARGIN + place * side, 0))


def _write_counts(
    pen: ImageDraw.ImageDraw,
    counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
    shares: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    side: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    for row, column in zip(*counts.nonzero(), strict=True):
        middle = (_MARGIN + column * side + side // 2, _MARGIN + row * side + side // 2)
        colour = (255, 255, 255) if shares[row, column] > 0.25 else _BLACK
        pen.text(middle, str(counts[row, column]), colour, font, anchor="mm")
