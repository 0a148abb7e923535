"""A matrix as a small picture: blue below zero, near white at zero, red above it, grey where scores are masked."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
"""Pixels; a longer side is averaged down to it."""

MASKED_BELOW = -50.0
"""Masks are −100, the lowest float or −∞; a score lower by 50 adds nothing to a softmax."""

STEPS = 127
"""Colours on either side of zero."""

LOW, ZERO, HIGH, MASKED = (29, 84, 158), (247, 247, 244), (176, 36, 44), (122, 122, 122)

_Array = np.ndarray[Any, Any]


def colours() -> list[tuple[int, int, int]]:
    """Return the palette: 2·127 + 1 colours from `LOW` over `ZERO` to `HIGH`, then `MASKED`."""
    shares = np.linspace(0, 1, STEPS + 1)[:, None]
    below = np.array(ZERO) + shares * (np.array(LOW) - np.array(ZERO))
    above = np.array(ZERO) + shares * (np.array(HIGH) - np.array(ZERO))
    scale = np.concatenate([below[:0:-1], above]).round().astype(int)
    return [*((int(red), int(green), int(blue)) for red, green, blue in scale), MASKED]


def is_masked(values: _Array) -> _Array:
    """Return where a bias holds a mask."""
    return values <= MASKED_BELOW


def largest(values: _Array) -> float:
    """Return the largest magnitude of what is not masked, 0 if there is nothing."""
    seen = np.abs(values[~is_masked(values)])
    return float(seen.max()) if seen.size else 0.0


def shrink(values: _Array, side: int = SIDE) -> _Array:
    """Average a matrix down to at most side × side; a block is masked, −∞, where all of it is."""
    rows, columns = (np.arange(min(size, side)) * size // min(size, side) for size in values.shape)
    seen = ~is_masked(values)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(part, rows, axis=0), columns, axis=1)
        for part in (np.where(seen, values, 0.0).astype(np.float64), seen.astype(np.float64))
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)


def encode(values: _Array, limit: float) -> str:
    """Return a matrix as PNG in a `data:` URI, one pixel a number, first row on top.

    Args:
        values: at most `SIDE` × `SIDE`; see `shrink`.
        limit: the magnitude that gets the full colour.
    """
    masked = is_masked(values)
    scaled = np.where(masked, 0.0, values) / (limit or 1.0)
    levels = np.where(masked, 2 * STEPS + 1, STEPS + np.rint(np.clip(scaled, -1, 1) * STEPS)).astype(np.uint8)
    picture = Image.frombytes("P", (levels.shape[1], levels.shape[0]), levels.tobytes())
    picture.putpalette([channel for colour in colours() for channel in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
