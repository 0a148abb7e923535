"""Quantization scales of an activation, with smoothing (SmoothQuant, Xiao et al. 2023, eq. 4).

The channels of an activation have very different ranges but share one scale. So each channel is divided by s and the
weights are multiplied by it, with s = max|X|^a / max|W|^(1−a). The exponent a with the least error of the products on
observed rows, ‖Q(X/s)·Q(sW) − XW‖², is chosen. Scales cover the largest magnitude: clipping outliers reduces the error
of the products, but not that of the logits (benchmarks/README.md, trained.py).
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
    """Scales of an int8 activation.

    Attributes:
        activation: scale of the activation.
        smoothing: divisors of the channels and factors of the weights, [C]; None without smoothing.
    """

    activation: float
    smoothing: Array | None


def plain_scales(observed: Observed) -> Scales:
    """Return the scale for the largest magnitude, without smoothing."""
    return Scales(_unit(observed.largest), None)


def choose_scales(observed: Observed, weight: Array, max_error_ratio: float) -> Scales:
    """Return the scales with the least error of the products.

    Args:
        observed: observed activation.
        weight: weights of all layers that read it, [C, O].
        max_error_ratio: maximum error with smoothing, relative to the error without, for smoothing to be used.
    """
    expected, plain = observed.rows @ weight, plain_scales(observed)
    found = [_smoothed(observed, weight, exponent) for exponent in _EXPONENTS]
    errors = [_error(observed, weight, scales, expected) for scales in found]
    smooth = int(np.argmin(errors))
    return found[smooth] if errors[smooth] < max_error_ratio * _error(observed, weight, plain, expected) else plain


def weight_scale(weight: Array, axis: int) -> Array:
    """Return the scale of each output of a weight, [O], with the output axis `axis`; 1 for outputs of zeros."""
    largest = np.abs(weight).max(axis=tuple(other for other in range(weight.ndim) if other != axis))
    return np.where(largest > 0, largest / _LARGEST, 1).astype(np.float32)


def to_int8(numbers: Array, scale: Array | np.float32) -> NDArray[np.int8]:
    """Return numbers quantized by a scale, rounded half to even and clipped."""
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
