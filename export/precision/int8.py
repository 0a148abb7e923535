"""Conversion of a float32 graph to one with Q/DQ pairs around its layers, calibrated on images.

Only layers are quantized, that is, products with a weight [in, out]. LayerNorm, softmax, GELU, residuals and the
products of attention stay float32. Measured on the digits networks: the products of attention gain no time; batched
weights, as iRPE has them, have no integer kernel; the first layer, which reads pixels (of 0 … 255 symmetric int8 keeps
every second), and the last make half of the error and little of the work; quantizing what a product yields costs both
time and accuracy. Where limits are still missed, `export.precision.sensitivity` leaves layers in float32.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

from export.precision.layers import Layers, find_layers
from export.precision.observing import Observed, observe
from export.precision.pairs import make_int8, norm_before
from export.precision.scales import Scales, choose_scales, plain_scales
from export.precision.sensitivity import keep_worst
from export.process.errors import ExportError
from export.verify.parity import Limits
from export.verify.reference import Reference

_WORTH_A_NODE = 0.7
"""Smoothing that cannot be folded into a norm costs a Mul, and must leave less than this share of the error."""


def quantize(
    model: ir.Model, reference: Reference, limits: Limits, *, takes_pixels: bool
) -> tuple[ir.Model, dict[str, int]]:
    """Return an int8 copy of a float32 graph, and how many layers, by operator, stayed float32 for the limits.

    Args:
        model: the float32 graph; it is not modified.
        reference: reference whose images are used for calibration.
        limits: limits on the copy's accuracy loss. If they cannot be met, no layer stays float32.
        takes_pixels: whether the graph takes uint8.

    Raises:
        ExportError: the graph has no layers to quantize.
    """
    groups = {layers.name: layers for layers in find_layers(model)}
    if not groups:
        raise ExportError("the graph has no layers with weights between its first and last; use --precision fp32")
    batches = reference.inputs(takes_pixels=takes_pixels)
    observed = observe(model, list(groups.values()), batches, len(reference.pixels))
    scales = {name: _scales(layers, seen) for (name, layers), seen in zip(groups.items(), observed, strict=True)}
    chosen = keep_worst(partial(_lower, model, scales), groups, reference, limits, takes_pixels=takes_pixels)
    kept = Counter(product.op_type for name in chosen.kept for product in groups[name].products)
    return chosen.model, dict(sorted(kept.items()))


def _scales(layers: Layers, observed: Observed) -> Scales:
    if layers.convolve:
        return plain_scales(observed)
    return choose_scales(observed, layers.weight(), 1.0 if norm_before(layers) is not None else _WORTH_A_NODE)


def _lower(model: ir.Model, scales: Mapping[str, Scales], kept: Collection[str]) -> ir.Model:
    """Return an int8 copy of a graph, without the layers named in `kept`."""
    copy = model.clone()
    for layers in find_layers(copy):
        if layers.name not in kept:
            make_int8(copy, layers, scales[layers.name])
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.DeduplicateHashedInitializersPass(size_limit=2**40),
        common.ClearMetadataAndDocStringPass(),
    )(copy)
    return copy
