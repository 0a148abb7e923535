"""Preprocessing and postprocessing with Pillow and NumPy, as in tutorials.

Pixels are normalised in NumPy, so the graph takes float32. With POSBAKE_PLAIN_RESIZER=simd, images are resized with the
service's library.
"""

import io
import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, SHORTER = 224, 248
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOP = 5


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize an RGB image, bicubic, with the resizer that POSBAKE_PLAIN_RESIZER names: pillow or simd."""
    if os.environ.get("POSBAKE_PLAIN_RESIZER", "pillow") == "pillow":
        return image.resize(size, Image.Resampling.BICUBIC)
    from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer

    resized = Image.new("RGB", size)
    options = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom), use_alpha=False)
    Resizer().resize_pil(image, resized, options)
    return resized


def preprocess(data: bytes) -> NDArray[np.float32]:
    """Decode, resize, crop and normalise a file into [1, 3, height, width]."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SHORTER / min(image.size)
    image = resize(image, (int(image.width * scale), int(image.height * scale)))
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])


def rank(logits: NDArray[np.float32], labels: list[str]) -> list[tuple[str, float]]:
    """Return label and probability of the most probable classes, given logits [classes]."""
    powers = np.exp(logits - logits.max())
    probabilities = powers / powers.sum()
    return [(labels[index], float(probabilities[index])) for index in np.argsort(-probabilities)[:TOP]]


def as_json(ranked: Iterable[tuple[str, float]]) -> dict[str, list[dict[str, str | float]]]:
    """Return the response body."""
    return {"predictions": [{"label": label, "probability": probability} for label, probability in ranked]}
