"""Kinds of files, and the chart that most of them show."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: description of the kind.
        make: function that returns the file.
        pixels: expected pixels, uint8 [H, W, 3]; None if the file is refused.
        refused: regular expression of the error's message.
        at_most, on_average: largest and mean error allowed for decoded values.
    """

    name: str
    make: Callable[[], bytes]
    pixels: Pixels | None = None
    refused: str = ""
    at_most: float = 0
    on_average: float = 255

    def __str__(self) -> str:
        return self.name


def chart(height: int = 37, width: int = 45, channels: int = 3, most: int = 65_535) -> NDArray[np.uint16]:
    """Return a smooth chart, uint16 [H, W, channels] from 0 to `most`, that differs in every corner and channel."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shapes = [columns, rows, (1 - columns) * (1 - rows), (rows + columns) / 2, np.abs(2 * columns - 1)]
    values = np.stack([shapes[channel % len(shapes)] for channel in range(channels)], axis=-1)
    scaled: NDArray[np.uint16] = np.rint(values * most).astype(np.uint16)
    return scaled


def eight(values: NDArray[np.uint16] | NDArray[np.uint8], bits: int) -> Pixels:
    """Return values of `bits` bits scaled to 8 bits, rounded in exact arithmetic."""
    most = 2**bits - 1
    rounded: Pixels = ((values.astype(np.int64) * 510 + most) // (2 * most)).astype(np.uint8)
    return rounded


def grey(values: Pixels) -> Pixels:
    """Return [H, W] or [H, W, 1] as three equal channels."""
    return np.repeat(values.reshape(*values.shape[:2], 1), 3, axis=2)


def over_white(colours: Pixels, alpha: Pixels) -> Pixels:
    """Return colours [H, W, 3] with alpha [H, W] over white."""
    share = alpha[..., np.newaxis] / 255
    return np.rint(colours * share + 255 * (1 - share)).astype(np.uint8)
