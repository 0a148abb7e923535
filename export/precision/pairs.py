"""Q/DQ pairs (QuantizeLinear and DequantizeLinear) around layers, which runtimes fuse into integer kernels.

Activations are symmetric int8 per tensor, weights symmetric int8 per output channel, as TensorRT requires. Smoothing
factors are divided out in the preceding norm, at no cost, or else by a Mul.
"""

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, add_node, array_of, input_of, name_of
from export.precision.layers import Layers, output_axis
from export.precision.scales import Array, Scales, to_int8, weight_scale

_INT8, _SINGLE = ir.DataType.INT8, ir.DataType.FLOAT


def make_int8(model: ir.Model, layers: Layers, scales: Scales) -> None:
    """Insert a Q/DQ pair after the activation of some layers, and replace their weights by int8."""
    activation, first, name = layers.activation, layers.products[0], name_of(layers.activation)
    sizes = activation.shape
    assert sizes is not None, "values of a traced graph have shapes"
    if scales.smoothing is not None:
        norm = norm_before(layers)
        if norm is None:
            inverse = add_constant(model, 1 / scales.smoothing, f"{name}_smoothing")
            activation = add_node(first, "Mul", [activation, inverse], sizes)
        else:
            _scale_norm(model, norm, scales.smoothing)
    scale = add_constant(model, np.array(scales.activation, np.float32), f"{name}_scale")
    zero = add_constant(model, np.array(0, np.int8), f"{name}_zero_point")
    quantized = add_node(first, "QuantizeLinear", [activation, scale, zero], sizes, dtype=_INT8)
    pair = add_node(first, "DequantizeLinear", [quantized, scale, zero], sizes, dtype=_SINGLE)
    for product in layers.products:
        product.replace_input_with(0, pair)
        product.replace_input_with(1, _int8_weight(model, product, scales.smoothing))


def norm_before(layers: Layers) -> ir.Node | None:
    """Return the LayerNormalization whose output, or a permutation of its tokens, is read only by the layers."""
    value, readers = layers.activation, set(layers.products)
    while {use.node for use in value.uses()} == readers and not value.is_graph_output():
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "LayerNormalization":
            return node if node.attributes.get_int("axis", -1) in (-1, len(value.shape or ()) - 1) else None
        if not _keeps_channels(node):
            return None
        value, readers = input_of(node, 0), {node}
    return None


def _keeps_channels(node: ir.Node) -> bool:
    """Return whether a node moves only tokens, so that the last axis does not change."""
    before, after = node.inputs[0], node.outputs[0]
    if before is None or before.shape is None or after.shape is None:
        return False
    if node.op_type == "Reshape":
        return isinstance(before.shape[-1], int) and before.shape[-1] == after.shape[-1]
    if node.op_type == "Transpose":
        return list(node.attributes["perm"].as_ints())[-1] == len(before.shape) - 1
    return node.op_type == "Gather" and node.attributes.get_int("axis", 0) % len(before.shape) != len(before.shape) - 1


def _scale_norm(model: ir.Model, norm: ir.Node, smoothing: Array) -> None:
    for place, value in list(enumerate(norm.inputs))[1:]:  # weight, and bias if there is one
        if value is not None:
            scaled = (array_of(value) / smoothing).astype(np.float32)
            norm.replace_input_with(place, add_constant(model, scaled, f"{name_of(norm.outputs[0])}_smoothed"))


def _int8_weight(model: ir.Model, product: ir.Node, smoothing: Array | None) -> ir.Value:
    weight, axis = input_of(product, 1), output_axis(product)
    numbers = array_of(weight)
    if smoothing is not None:
        numbers = numbers * (smoothing[:, None] if axis == 1 else smoothing)
    scales = weight_scale(numbers, axis)
    along = [1] * numbers.ndim
    along[axis] = -1
    name = name_of(weight)
    stored = add_constant(model, to_int8(numbers, scales.reshape(along)), f"{name}_int8")
    scale = add_constant(model, scales, f"{name}_scale")
    zero = add_constant(model, np.zeros(len(scales), np.int8), f"{name}_zero_point")
    return add_node(product, "DequantizeLinear", [stored, scale, zero], numbers.shape, {"axis": axis}, _SINGLE)
