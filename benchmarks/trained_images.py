"""Fashion-MNIST (Xiao et al. 2017, MIT) as PNG files: 28×28 grey images of clothes in ten classes.

Debian's `dataset-fashion-mnist` has it in MNIST's format: a header, then one byte per pixel.
"""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path("/usr/share/datasets/fashion-mnist")
LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

_HEADERS = {"images": 16, "labels": 8}
_SIDE = 28


def write_images(data: Path, part: str, first: int, count: int, folder: Path) -> NDArray[np.int64]:
    """Write `count` images of `part` (train, t10k) from number `first` on as 00000.png, …, and return their classes.

    Existing files are kept.
    """
    pixels = _read(data, part, "images").reshape(-1, _SIDE, _SIDE)[first : first + count]
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(pixels):
        file = folder / f"{number:05}.png"
        if not file.exists():
            Image.fromarray(image).save(file)
    return _read(data, part, "labels")[first : first + count].astype(np.int64)


def _read(data: Path, part: str, what: str) -> NDArray[np.uint8]:
    (file,) = data.glob(f"{part}-{what}-idx*-ubyte.gz")
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=_HEADERS[what])
