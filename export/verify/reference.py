"""Reference logits of the original network in float64, on synthetic or calibration images.

float32 is used only if the network's code does not support float64, and recorded. The reference is computed first and
stored separately, so the network is not in memory together with the graph. The network's float32 logits are compared
with it too: if a network amplifies rounding, no runtime can compute it in float32.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from artifact import Batch
from export.process.errors import ExportError, first_line
from export.tracing.pixels import Normalisation
from export.verify.float64 import in_float64
from models.sources.pictures import photographs
from models.sources.twin import share_tensors

BATCHES = (1, 2, 3, 7)

FLOAT64 = "torch float64"
"""Name of the reference, unless the network fails in float64."""

GOLDEN_IMAGES = 4
"""Minimum number of images of a reference, the number in the golden file."""

_SEED = 0
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reference:
    """Images, and the network's logits for them.

    Attributes:
        pixels: uint8 [B, height, width, 3], at least one for each batch size.
        normalisation: normalisation of the pixels.
        logits: float64 [images, classes], concatenated over all batches.
        made_by: computation of the logits: `FLOAT64`, or float32 with the reason.
        boundary: decision boundary of a multi-label network; None compares the top-1 class.
        float32_error: error of the network in float32 over the largest logit; None if not measured.
    """

    pixels: tuple[Tensor, ...]
    normalisation: Normalisation
    logits: Array
    made_by: str
    float32_error: float | None = None
    boundary: float | None = None

    @property
    def batches(self) -> tuple[int, ...]:
        """Distinct batch sizes."""
        return tuple(dict.fromkeys(map(len, self.pixels)))

    def inputs(self, *, takes_pixels: bool) -> Iterator[Array]:
        """Yield the batches as a graph takes them: uint8 [B, height, width, 3], or normalised as the network does."""
        for images in self.pixels:
            yield (images if takes_pixels else normalise(images, self.normalisation).float()).numpy()

    def errors(self, found: Array) -> dict[str, Any]:
        """Compare [images, classes] with the logits; returns fields of a Parity."""
        errors, largest = np.abs(self.logits - found), float(np.abs(self.logits).max())
        ends = np.cumsum([len(images) for images in self.pixels])[:-1]
        by_size = dict.fromkeys(self.batches, 0.0)
        for part in np.split(errors, ends):
            by_size[len(part)] = max(by_size[len(part)], float(part.max()) / largest)
        return {
            "reference": self.made_by,
            "max_abs_error": float(errors.max()),
            "max_rel_error": float(errors.max()) / largest,
            "batch_errors": tuple(by_size.values()),
            "top1_agreement": self.agreement(found),
        }

    def agreement(self, found: Array) -> float:
        """Return the share of images of which [images, classes] name the same class, or the same set of classes."""
        if self.boundary is None:
            return float((self.logits.argmax(axis=1) == found.argmax(axis=1)).mean())
        return float(((self.logits >= self.boundary) == (found >= self.boundary)).all(axis=1).mean())


def compute_reference(
    network: nn.Module, image_size: tuple[int, int], normalisation: Normalisation, batch: Batch
) -> Reference:
    """Run the network in float64 and in float32 on synthetic images, at batches 1, 2, 3 and 7 within `batch`.

    The largest batch is repeated until there are enough images for the golden file.

    The network is converted to float64 and back in place, which is exact and needs no copy.

    Args:
        network: network for normalised float images [B, 3, height, width].
        image_size: (height, width) in pixels.
        normalisation: normalisation of the pixels.
        batch: batch sizes that the graph must accept.

    Raises:
        ExportError: the network does not run on a batch, not even in float32.
    """
    sizes = [size for size in BATCHES if batch.min <= size <= batch.max] or [batch.min]
    while sum(sizes) < GOLDEN_IMAGES:
        sizes.append(sizes[-1])
    pixels = torch.split(photographs(sum(sizes), image_size, _SEED), sizes)
    reference = reference_on(network, pixels, normalisation)
    if reference.made_by != FLOAT64:
        return reference
    single = _logits(share_tensors(network), [normalise(images, normalisation).float() for images in pixels])
    return replace(reference, float32_error=_relative_error(reference.logits, single))


def _relative_error(expected: Array, found: Array) -> float:
    """Return the largest error over the largest logit; infinity where what is found is not finite."""
    largest = float(np.abs(expected).max())
    if expected.shape != found.shape or not np.isfinite(found).all() or not largest > 0:
        return math.inf
    return float(np.abs(expected - found).max()) / largest


def reference_on(network: nn.Module, pixels: tuple[Tensor, ...], normalisation: Normalisation) -> Reference:
    """Run the network on batches of pixels; see `compute_reference`."""
    inputs = [normalise(images, normalisation) for images in pixels]
    # A copy is run, because some modules cache the biases of their first run; it cannot be made inside `in_float64`.
    twin = share_tensors(network)
    try:
        with in_float64(twin):
            return Reference(pixels, normalisation, _logits(twin, inputs), FLOAT64)
    except ExportError as error:
        why = str(error)
    # Float32 is what the graph computes in, and may be all that the network's code does. If it fails here as well, it
    # was not for float64.
    logits = _logits(share_tensors(network), [images.float() for images in inputs])
    return Reference(pixels, normalisation, logits, f"torch float32; in float64 {why}")


def _logits(network: nn.Module, inputs: list[Tensor]) -> Array:
    found = []
    for images in inputs:
        try:
            with torch.no_grad():
                found.append(network(images).double().numpy())
        except Exception as error:  # whatever the network's own code raises
            raise ExportError(
                f"the network fails at batch {len(images)}: {type(error).__name__}: {first_line(error)}"
            ) from error
    return np.concatenate(found)


def normalise(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """Map uint8 [B, height, width, 3] to float64 [B, 3, height, width]: (pixel / 255 − mean) / std."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (normalisation.mean, normalisation.std))
    return ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)
