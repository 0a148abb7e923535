"""Expected outputs of the artifacts of tests.service.artifacts, computed number by number."""

import json
import struct
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from tests.service.artifacts import WEIGHTS
from tests.service.pictures import random_pixels


def pixels(count: int) -> NDArray[np.uint8]:
    """Return random images [n, 8, 6, 3]."""
    return np.stack([random_pixels(seed=seed) for seed in range(count)])


def floats(count: int) -> NDArray[np.float32]:
    """Return random normalised images [n, 3, 8, 6]."""
    return np.random.default_rng(1).normal(0, 50, (count, 3, 8, 6)).astype(np.float32)


def expected_logits(images: NDArray[np.uint8] | NDArray[np.float32]) -> list[list[float]]:
    """Return the logits of variant `mean`, version 1, for uint8 [n, H, W, 3], and of `float` for [n, 3, H, W]."""
    logits = []
    for image in images:
        channels = [image[..., channel] if image.dtype == np.uint8 else image[channel] for channel in range(3)]
        means = [sum(float(value) for value in channel.flat) / channel.size for channel in channels]
        logits.append([sum(means[row] * float(WEIGHTS[row, column]) for row in range(3)) for column in range(4)])
    return logits


def document_of(response: httpx2.Response) -> dict[str, Any]:
    """Return a response's JSON, with the numbers of a binary output as its data."""
    length = response.headers.get("Inference-Header-Content-Length")
    if length is None:
        document: dict[str, Any] = response.json()
        return document
    document = json.loads(response.content[: int(length)])
    (output,) = document["outputs"]
    output["data"] = [number for (number,) in struct.iter_unpack("<f", response.content[int(length) :])]
    return document
