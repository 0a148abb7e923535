"""Quantization of a float32 graph to int8 with Q/DQ pairs, calibrated on images.

Only linear layers and convolutions are quantized. LayerNorm, softmax, GELU, residual connections and the products of
attention stay float32. Measured on the digits networks:

- Quantized products of attention are not faster, and batched weights (iRPE) have no integer kernel.
- The first layer, where symmetric int8 drops every second of 256 pixel values, and the last cause half of the error and
  take little of the time. They are not quantized.
- Quantizing the output of layers costs both time and accuracy.

If the limits are not met, `export.precision.sensitivity` keeps some layers in float32.
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

_MAX_ERROR_WITH_MUL = 0.7
"""Maximum error with smoothing, relative to that without, if smoothing cannot be folded into a norm and costs a Mul."""


def quantize(
    model: ir.Model, reference: Reference, limits: Limits, *, takes_pixels: bool
) -> tuple[ir.Model, dict[str, int]]:
    """Return an int8 copy of a float32 graph, and the number of layers that stayed float32, by operator.

    Args:
        model: the float32 graph; it is not modified.
        reference: reference whose images are used for calibration.
        limits: limits on the accuracy of the copy. If they cannot be met, all layers are quantized.
        takes_pixels: True if the graph takes uint8 pixels.

    Raises:
        ExportError: the graph has no layers to quantize.
    """
    groups = {layers.name: layers for layers in find_layers(model)}
    if not groups:
        raise ExportError("the graph has no layers with weights between the first and the last; use --precision fp32")
    batches = reference.inputs(takes_pixels=takes_pixels)
    observed = observe(model, list(groups.values()), batches, len(reference.pixels))
    scales = {name: _scales(layers, seen) for (name, layers), seen in zip(groups.items(), observed, strict=True)}
    chosen = keep_worst(partial(_lower, model, scales), groups, reference, limits, takes_pixels=takes_pixels)
    kept = Counter(product.op_type for name in chosen.kept for product in groups[name].products)
    return chosen.model, dict(sorted(kept.items()))


def _scales(layers: Layers, observed: Observed) -> Scales:
    if layers.convolve:
        return plain_scales(observed)
    return choose_scales(observed, layers.weight(), 1.0 if norm_before(layers) is not None else _MAX_ERROR_WITH_MUL)


def _lower(model: ir.Model, scales: Mapping[str, Scales], kept: Collection[str]) -> ir.Model:
    """Return an int8 copy of a graph, without the layers named in `kept`."""
    copy = model.clone()
    for layers in find_layers(copy):
        if layers.name not in kept:
            make_int8(copy, layers, scales[layers.name])
    # Equal constants are not merged: ONNX Runtime cannot convert shared ones, see engines.saturation.
    ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.ClearMetadataAndDocStringPass())(copy)
    return copy
