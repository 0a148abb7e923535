"""scikit-learn's digits: 1,797 scans of handwritten digits, 8×8 pixels, 17 shades (UCI, 1998, CC BY 4.0).

The scans are rendered as dark ink on white paper, and scaled to the network's input size with the service's resizing.
The last 360 are held out for testing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

TEST_COUNT = 360
DATASET = f"scikit-learn digits, last {TEST_COUNT}"

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images uint8 [count, height, width, 3] and their labels int64 [count]."""

    images: Pixels
    labels: Labels


def load_split(size: tuple[int, int] = (32, 32)) -> tuple[Split, Split]:
    """Return (train, test) at `size` (height, width) in pixels."""
    scans, labels = load_digits(return_X_y=True)
    images = np.stack([scale(scan, size) for scan in as_paper(scans.reshape(-1, 8, 8))])
    labels = labels.astype(np.int64)
    return Split(images[:-TEST_COUNT], labels[:-TEST_COUNT]), Split(images[-TEST_COUNT:], labels[-TEST_COUNT:])


def as_paper(scans: npt.NDArray[np.float64]) -> Pixels:
    """Map ink 0 … 16 to pixels 255 (paper) … 0 (ink)."""
    return np.rint(255 - scans * (255 / 16)).astype(np.uint8)


def scale(scan: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize a grey scan [8, 8] to RGB [height, width, 3], bicubic as in the configurations' `preprocess`."""
    image = Image.fromarray(scan).convert("RGB").resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(image)
