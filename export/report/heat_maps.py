"""Heat maps of matrices: blue below zero, near white at zero, red above, grey for masked scores."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
"""Maximum width and height in pixels; larger matrices are averaged."""

MASKED_BELOW = -50.0
"""Bias below which a score is masked: masks are −100, the lowest float or −∞, and exp(−50) is negligible."""

STEPS = 127
"""Number of colours on each side of zero."""

LOW, ZERO, HIGH, MASKED = (29, 84, 158), (247, 247, 244), (176, 36, 44), (122, 122, 122)

_Array = np.ndarray[Any, Any]


def colours() -> list[tuple[int, int, int]]:
    """Return the palette: 2 · 127 + 1 colours from `LOW` through `ZERO` to `HIGH`, and `MASKED`."""
    shares = np.linspace(0, 1, STEPS + 1)[:, None]
    below = np.array(ZERO) + shares * (np.array(LOW) - np.array(ZERO))
    above = np.array(ZERO) + shares * (np.array(HIGH) - np.array(ZERO))
    scale = np.concatenate([below[:0:-1], above]).round().astype(int)
    return [*((int(red), int(green), int(blue)) for red, green, blue in scale), MASKED]


def is_masked(values: _Array) -> _Array:
    """Return the elements of a bias that are masked, as booleans."""
    return values <= MASKED_BELOW


def largest(values: _Array) -> float:
    """Return the largest magnitude of the elements that are not masked; 0 if all are."""
    seen = np.abs(values[~is_masked(values)])
    return float(seen.max()) if seen.size else 0.0


def shrink(values: _Array) -> _Array:
    """Average a matrix down to at most `SIDE` × `SIDE`; a block is −∞ if all its elements are masked."""
    rows, columns = (np.arange(min(size, SIDE)) * size // min(size, SIDE) for size in values.shape)
    seen = ~is_masked(values)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(part, rows, axis=0), columns, axis=1)
        for part in (np.where(seen, values, 0.0).astype(np.float64), seen.astype(np.float64))
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def encode(values: _Array, limit: float) -> str:
    """Return a matrix as a PNG in a `data:` URI, with one pixel per element and the first row at the top.

    Args:
        values: matrix of at most `SIDE` × `SIDE`; see `shrink`.
        limit: magnitude at both ends of the colour scale.
    """
    masked = is_masked(values)
    scaled = np.where(masked, 0.0, values) / (limit or 1.0)
    levels = np.where(masked, 2 * STEPS + 1, STEPS + np.rint(np.clip(scaled, -1, 1) * STEPS)).astype(np.uint8)
    picture = Image.frombytes("P", (levels.shape[1], levels.shape[0]), levels.tobytes())
    picture.putpalette([channel for colour in colours() for channel in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
