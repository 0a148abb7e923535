"""Preprocessing and postprocessing with Pillow and NumPy, as tutorials do it.

Pixels are normalised in NumPy, so the graph takes float32.
"""

import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, SHORTER = 224, 248
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
TOP = 5


def preprocess(data: bytes) -> NDArray[np.float32]:
    """Decode, resize, crop and normalise a file into [1, 3, height, width]."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SHORTER / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    pixels = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])


def rank(logits: NDArray[np.float32], labels: list[str]) -> list[tuple[str, float]]:
    """Return the label and the probability of the most probable classes, of logits [classes]."""
    powers = np.exp(logits - logits.max())
    probabilities = powers / powers.sum()
    return [(labels[index], float(probabilities[index])) for index in np.argsort(-probabilities)[:TOP]]


def as_json(ranked: Iterable[tuple[str, float]]) -> dict[str, list[dict[str, str | float]]]:
    """Return what the answer is in JSON."""
    return {"predictions": [{"label": label, "probability": probability} for label, probability in ranked]}
