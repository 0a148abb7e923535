"""Layers that stay float32 where int8 misses its limits: those with the largest measured error.

A layer's cost is what the logits lose when it alone is int8, on some of the images; layers that read the same
activation are one. Then the most costly ones stay float32, twice as many with each try.
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

_MOST = 4
"""A fourth of the layers may stay float32. If that is too few, the network cannot be int8."""

Lower = Callable[[Collection[str]], ir.Model]
"""Returns the graph with the named layers in float32, all others in int8."""


@dataclass(frozen=True)
class Chosen:
    """A graph, and the layers in it that stayed float32."""

    model: ir.Model
    kept: tuple[str, ...]


def keep_worst(
    lower: Lower, names: Collection[str], reference: Reference, limits: Limits, *, takes_pixels: bool
) -> Chosen:
    """Return the graph with as few layers in float32 as were tried and meet the limits; with all int8 if none does.

    Args:
        lower: makes a graph.
        names: names of the layers.
        reference: what the logits are compared with.
        limits: on mean cosine and agreement.
        takes_pixels: whether the graph takes uint8.
    """

    def meets(model: ir.Model) -> bool:
        found = _run(model, reference, takes_pixels=takes_pixels)
        if not np.isfinite(found).all():
            return False
        return not misses(float(cosine(reference.logits, found).mean()), reference.agreement(found), limits)

    whole = lower(())
    if meets(whole):
        return Chosen(whole, ())
    some = _some(reference)
    costs = {}
    for name in names:
        alone = lower([other for other in names if other != name])
        costs[name] = 1 - float(cosine(some.logits, _run(alone, some, takes_pixels=takes_pixels)).mean())
    worst = sorted(names, key=lambda name: costs[name], reverse=True)
    count = 1
    while count <= len(worst) // _MOST:
        kept = tuple(worst[:count])
        model = lower(kept)
        if meets(model):
            return Chosen(model, kept)
        count *= 2
    return Chosen(whole, ())


def _some(reference: Reference) -> Reference:
    """Return the first batches, with IMAGES images or more."""
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
