"""Layers that stay float32 if an int8 graph does not meet its limits: those with the largest error.

The error of a layer is that of the logits if only this layer is int8, on some of the images; layers that read the same
activation count as one. The layers with the largest errors stay float32, and their number is doubled until the limits
are met.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir

from export.verify.parity import Limits, cosine, misses, run_graph
from export.verify.reference import Array, Reference
from export.write.saving import save_graph

IMAGES = 32
"""Minimum number of images, in whole batches."""

_KEPT_DIVISOR = 4
"""At most one in `_KEPT_DIVISOR` layers stays float32."""

Lower = Callable[[Collection[str]], ir.Model]
"""Function that returns the graph with the named layers in float32 and all others in int8."""


@dataclass(frozen=True)
class Chosen:
    """A graph, and the names of its layers that stayed float32."""

    model: ir.Model
    kept: tuple[str, ...]


def keep_worst(
    lower: Lower, names: Collection[str], reference: Reference, limits: Limits, *, takes_pixels: bool
) -> Chosen:
    """Return the first graph that meets the limits, with an increasing number of float32 layers; else all in int8.

    Args:
        lower: function that returns the graph with the named layers in float32.
        names: names of the layers.
        reference: reference logits.
        limits: limits on mean cosine and agreement.
        takes_pixels: True if the graph takes uint8 pixels.
    """

    def meets(model: ir.Model) -> bool:
        found = _run(model, reference, takes_pixels=takes_pixels)
        if not np.isfinite(found).all():
            return False
        return not misses(float(cosine(reference.logits, found).mean()), reference.agreement(found), limits)

    whole = lower(())
    if meets(whole):
        return Chosen(whole, ())
    some = _first_batches(reference)
    costs = {}
    for name in names:
        alone = lower([other for other in names if other != name])
        costs[name] = 1 - float(cosine(some.logits, _run(alone, some, takes_pixels=takes_pixels)).mean())
    worst = sorted(names, key=lambda name: costs[name], reverse=True)
    count = 1
    while count <= len(worst) // _KEPT_DIVISOR:
        kept = tuple(worst[:count])
        model = lower(kept)
        if meets(model):
            return Chosen(model, kept)
        count *= 2
    return Chosen(whole, ())


def _first_batches(reference: Reference) -> Reference:
    """Return the reference of the first batches, with at least `IMAGES` images."""
    count = images = 0
    while images < IMAGES and count < len(reference.pixels):
        images += len(reference.pixels[count])
        count += 1
    return replace(reference, pixels=reference.pixels[:count], logits=reference.logits[:images])


def _run(model: ir.Model, reference: Reference, *, takes_pixels: bool) -> Array:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tried.onnx"
        save_graph(model, path)
        return run_graph(path, reference, takes_pixels=takes_pixels)
