"""Constants and tensors without the repetition that broadcasting provides."""

import numpy as np
import onnx_ir as ir

from export.passes.operators import BROADCAST
from export.passes.sweep import Sweep
from export.passes.values import Array, array_of, derive_constant, is_constant, producer_of, sizes_of

_PRODUCTS = {"MatMul": 1, "Gemm": 1, "Conv": 3, "ConvTranspose": 3}
"""Operators that a bias may follow, and the position of their channel axis from the end (before H and W in images)."""


class Unbroadcast(Sweep):
    """Shrink the inputs of operators that broadcast.

    1. An axis along which a constant is uniform gets size 1.
    2. A tensor repeated by Expand is read before the Expand.
    3. An axis stays if no other input gives the result its size along it. The last two axes of MatMul stay.
    4. The bias of a product keeps its channels even if they are all equal: TensorRT fuses the two and expects a bias
       with one number per channel (TensorRT-RTX 1.7: "logical memory size … payload size (4)").
    5. Sizes must be known, so the pass runs before the batch becomes dynamic.
    """

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Shrink the inputs of a node."""
        modified = False
        for position, value in enumerate(node.inputs if node.op_type in BROADCAST else ()):
            smaller = None if value is None else _smaller(model, node, position, value)
            if smaller is not None:
                node.replace_input_with(position, smaller)
                modified = True
        return modified


def is_uniform(array: Array, axis: int) -> bool:
    """Return whether an array is constant along an axis."""
    if array.strides[axis] == 0:
        return True
    first, last = (array.take([index], axis=axis) for index in (0, -1))  # fast check: most arrays that vary do so here
    return bool(np.array_equal(first, last) and np.array_equal(array, np.broadcast_to(first, array.shape)))


def _smaller(model: ir.Model, node: ir.Node, position: int, value: ir.Value) -> ir.Value | None:
    """Return a smaller value that the node can read instead of `value`; None if there is none."""
    free = _free_axes(node, position)
    if is_constant(value):
        array = array_of(value)
        axes = {axis for axis in free if is_uniform(array, axis)}
        if len(axes) == sum(size > 1 for size in array.shape):  # a single number would remain
            axes -= _channels_of_product(node, position, array.ndim)
        if not axes:
            return None
        kept = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(array.ndim))
        return derive_constant(model, array[kept], value)
    producer, sizes = value.producer(), sizes_of(value)
    source = producer.inputs[0] if producer is not None and producer.op_type == "Expand" else None
    before = sizes_of(source)
    if before is None or sizes is None:
        return None
    aligned = (*[1] * (len(sizes) - len(before)), *before)
    repeated = {axis for axis, size in enumerate(sizes) if aligned[axis] != size}
    return source if repeated <= free else None


def _channels_of_product(node: ir.Node, position: int, ndim: int) -> set[int]:
    """Return the channel axis of a constant that is added to a product; nothing for other constants."""
    if node.op_type not in ("Add", "Sub"):
        return set()
    producer = producer_of(node.inputs[1 - position])
    if producer is None or producer.op_type not in _PRODUCTS:
        return set()
    return {ndim - _PRODUCTS[producer.op_type]}


def _free_axes(node: ir.Node, position: int) -> set[int]:
    """Return the axes of an input along which another input gives the result its size."""
    value, result = node.inputs[position], sizes_of(node.outputs[0])
    sizes = sizes_of(value)
    others = [sizes_of(other) for index, other in enumerate(node.inputs) if index != position]
    if result is None or sizes is None:
        return set()
    free = set()
    for axis in range(len(sizes) - (2 if node.op_type == "MatMul" else 0)):
        end = len(sizes) - axis
        given = any(other is not None and len(other) >= end and other[-end] == sizes[axis] for other in others)
        if sizes[axis] > 1 and given and result[-end] == sizes[axis]:
            free.add(axis)
    return free
