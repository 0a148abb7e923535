"""Reference logits of the original network in float64, on synthetic or calibration images.

float32 is used, and reported, only if the network's code does not support float64. The reference is computed before the
graph, so that both need not be in memory at once. The network's float32 logits are compared with it too: if a network
amplifies rounding errors, no runtime can compute it in float32.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from artifact import Activation, Batch, Task
from export.process.errors import ExportError, first_line
from export.tracing.pixels import Normalisation
from export.verify.float64 import in_float64
from models.sources.pictures import photographs
from models.sources.twin import share_tensors

BATCHES = (1, 2, 3, 7)

FLOAT64 = "torch float64"
"""Value of `Reference.made_by`, unless the network fails in float64."""

GOLDEN_IMAGES = 4
"""Minimum number of images of a reference: the number of images of a golden file."""

INDEPENDENT = 1e-6
"""Largest relative difference of an image's float64 logits between two batch sizes: rounding makes less than 1e-10."""

_SEED = 0
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reference:
    """Images, and the network's logits for them.

    Attributes:
        pixels: batches of pixels, uint8 [B, height, width, 3] each.
        normalisation: normalisation of the pixels.
        logits: float64 [images, classes], concatenated over all batches.
        made_by: precision of the computation: `FLOAT64`, or float32 with the reason.
        boundary: decision boundary of a multi-label network; None for the top-1 class.
        float32_error: error of the network in float32, relative to the largest logit; None if not measured.
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

    def for_task(self, task: Task, activation: Activation) -> "Reference":
        """Return the reference with the decision boundary of a multi-label network."""
        return self if task != "multi-label" else replace(self, boundary=0.0 if activation == "none" else 0.5)

    def inputs(self, *, takes_pixels: bool) -> Iterator[Array]:
        """Yield the batches as a graph's input: uint8 [B, height, width, 3], or float32 [B, 3, height, width]."""
        for images in self.pixels:
            yield (images if takes_pixels else normalise(images, self.normalisation).float()).numpy()

    def errors(self, found: Array) -> dict[str, Any]:
        """Compare logits [images, classes] with the reference; return fields of a Parity."""
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
        """Return the share of images for which logits [images, classes] predict the same class or set of classes."""
        if self.boundary is None:
            return float((self.logits.argmax(axis=1) == found.argmax(axis=1)).mean())
        return float(((self.logits >= self.boundary) == (found >= self.boundary)).all(axis=1).mean())


def compute_reference(
    network: nn.Module, image_size: tuple[int, int], normalisation: Normalisation, batch: Batch
) -> Reference:
    """Run the network in float64 and in float32 on synthetic images, at batches 1, 2, 3 and 7 within `batch`.

    The largest batch size is repeated until there are enough images for the golden file. The network is converted to
    float64 and back in place, which is exact and needs no copy.

    Args:
        network: network for normalised float images [B, 3, height, width].
        image_size: (height, width) in pixels.
        normalisation: normalisation of the pixels.
        batch: batch sizes that the graph must accept.

    Raises:
        ExportError: the network fails on a batch in float32, or the logits of an image depend on its batch.
    """
    sizes = [size for size in BATCHES if batch.min <= size <= batch.max] or [batch.min]
    while sum(sizes) < GOLDEN_IMAGES:
        sizes.append(sizes[-1])
    pixels = torch.split(photographs(sum(sizes), image_size, _SEED), sizes)
    again = pixels[-1][: sizes[0]]  # images of the largest batch in the smallest
    reference = reference_on(network, (*pixels, again), normalisation)
    repeated = reference.logits[-len(again) :]
    reference = replace(reference, pixels=pixels, logits=reference.logits[: -len(again)])
    if reference.made_by != FLOAT64:
        return reference
    mixed = _relative_error(reference.logits[-sizes[-1] :][: len(again)], repeated)
    if INDEPENDENT < mixed < math.inf:
        raise ExportError(
            f"the logits of an image depend on the other images of its batch, by {mixed:.1e} of the largest logit "
            f"between batches {sizes[0]} and {sizes[-1]}; images of different requests share a batch: compute no "
            "statistics over the batch in eval mode, or export for a single batch size with --batch N:N"
        )
    single = _logits(share_tensors(network), [normalise(images, normalisation).float() for images in pixels])
    return replace(reference, float32_error=_relative_error(reference.logits, single))


def _relative_error(expected: Array, found: Array) -> float:
    """Return the largest error over the largest logit; infinity if logits are not finite."""
    largest = float(np.abs(expected).max())
    if expected.shape != found.shape or not np.isfinite(found).all() or not largest > 0:
        return math.inf
    return float(np.abs(expected - found).max()) / largest


def reference_on(network: nn.Module, pixels: tuple[Tensor, ...], normalisation: Normalisation) -> Reference:
    """Run the network on batches of pixels; see `compute_reference`."""
    inputs = [normalise(images, normalisation) for images in pixels]
    # Some modules cache biases in their first run, so a copy is run. It cannot be made inside `in_float64`.
    twin = share_tensors(network)
    try:
        with in_float64(twin):
            return Reference(pixels, normalisation, _logits(twin, inputs), FLOAT64)
    except ExportError as error:
        why = str(error)
    # The network's code may support float32 only. If it fails in float32 too, that error is raised.
    logits = _logits(share_tensors(network), [images.float() for images in inputs])
    return Reference(pixels, normalisation, logits, f"torch float32; in float64 {why}")


def _logits(network: nn.Module, inputs: list[Tensor]) -> Array:
    found = []
    for images in inputs:
        try:
            with torch.no_grad():
                logits = network(images).double().numpy()
        except Exception as error:  # whatever the network's own code raises
            raise ExportError(
                f"the network fails at batch {len(images)}: {type(error).__name__}: {first_line(error)}"
            ) from error
        if logits.ndim != 2 or len(logits) != len(images):
            raise ExportError(
                f"at batch {len(images)} the network returns {list(logits.shape)} instead of [{len(images)}, classes]; "
                "do not squeeze or flatten the axis of the batch"
            )
        found.append(logits)
    return np.concatenate(found)


def normalise(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    """Map uint8 [B, height, width, 3] to float64 [B, 3, height, width]: (pixel / 255 − mean) / std."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (normalisation.mean, normalisation.std))
    return ((pixels.double() / 255 - mean) / std).permute(0, 3, 1, 2)
