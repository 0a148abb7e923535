"""The scale of an activation, and the outliers that are moved from its channels into the weights.

Channels of transformers have very different ranges, and one scale has to hold all of them. So each is divided by s,
and the weights that read it are multiplied: s = max|X|^a / max|W|^(1−a) (SmoothQuant, Xiao et al. 2023, eq. 4). Of
several a, that with the least error of the products is taken: ‖Q(X/s)·Q(sW) − XW‖² over ‖XW‖², on observed rows.
Scales are of the largest magnitude. Clipping by error was measured and left out (benchmarks/README.md, trained.py):
by the error of a product it pays to clip the few large numbers, by that of the logits it does not.
Shapes: C channels, n rows, O outputs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.precision.observing import Observed

Array = NDArray[np.float32]

_LARGEST = 127
"""Largest value of symmetric int8; −128 is not used."""

_EXPONENTS = (0.5, 0.65, 0.8)
_TINY = np.float32(1e-5)


@dataclass(frozen=True)
class Scales:
    """Scales that make an activation int8.

    Attributes:
        activation: one unit of int8.
        smoothing: [C], what the activation is divided by and the weights' rows are multiplied by; None for nothing.
    """

    activation: float
    smoothing: Array | None


def plain_scales(observed: Observed) -> Scales:
    """Return the scale of the largest magnitude."""
    return Scales(_unit(observed.largest), None)


def choose_scales(observed: Observed, weight: Array, worth: float) -> Scales:
    """Return the scales with the least error of the products.

    Args:
        observed: observed of the activation.
        weight: [C, O], of all products that read it.
        worth: smoothing is taken if it leaves less than this share of the error without it.
    """
    expected, plain = observed.rows @ weight, plain_scales(observed)
    found = [_smoothed(observed, weight, exponent) for exponent in _EXPONENTS]
    errors = [_error(observed, weight, scales, expected) for scales in found]
    smooth = int(np.argmin(errors))
    return found[smooth] if errors[smooth] < worth * _error(observed, weight, plain, expected) else plain


def weight_scale(weight: Array, axis: int) -> Array:
    """Return the scale [O] of each output of a weight whose `axis` counts them; 1 where all numbers are zero."""
    largest = np.abs(weight).max(axis=tuple(other for other in range(weight.ndim) if other != axis))
    return np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)


def to_int8(numbers: Array, scale: Array | np.float32) -> NDArray[np.int8]:
    """Return numbers in units of a scale, rounded half to even and clipped."""
    units: NDArray[np.int8] = np.clip(np.rint(numbers / scale), -_LARGEST, _LARGEST).astype(np.int8)
    return units


def _unit(largest: Array) -> float:
    return float(largest.max()) / _LARGEST or 1.0


def _smoothed(observed: Observed, weight: Array, exponent: float) -> Scales:
    channels = np.maximum(observed.largest, _TINY) ** exponent
    smoothing = (channels / np.maximum(np.abs(weight).max(axis=1), _TINY) ** (1 - exponent)).astype(np.float32)
    return Scales(_unit(observed.largest / smoothing), smoothing)


def _error(observed: Observed, weight: Array, scales: Scales, expected: Array) -> float:
    """Return the squared error of the products."""
    smoothing = np.ones(len(weight), np.float32) if scales.smoothing is None else scales.smoothing
    rows = _rounded(observed.rows / smoothing, np.float32(scales.activation))
    smoothed = weight * smoothing[:, None]
    return float(np.square(rows @ _rounded(smoothed, weight_scale(smoothed, 1)) - expected).sum())


def _rounded(numbers: Array, scale: Array | np.float32) -> Array:
    return to_int8(numbers, scale).astype(np.float32) * scale
