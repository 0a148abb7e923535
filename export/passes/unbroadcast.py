"""Removal of repetition along axes that operators broadcast."""

import numpy as np
import onnx_ir as ir

from export.passes.operators import BROADCAST
from export.passes.sweep import Sweep
from export.passes.values import Array, array_of, derive_constant, is_constant, producer_of, sizes_of

_PRODUCTS = {"MatMul": 1, "Gemm": 1, "Conv": 3, "ConvTranspose": 3}
"""Operators that a bias may follow, and their channel axis, counted from the last."""


class Unbroadcast(Sweep):
    """Shrink the inputs of operators that broadcast.

    1. An axis along which a constant is uniform gets size 1.
    2. The input of an Expand is read instead of its output.
    3. An axis stays if no other input has the size of the result along it. The last two axes of MatMul stay.
    4. The bias of a product keeps its channels even if they are all equal: TensorRT fuses the two and requires one
       number per channel (TensorRT-RTX 1.7: "logical memory size … payload size (4)").
    5. Shapes must be static, so the pass runs before the batch becomes dynamic.
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
    first, last = (array.take([index], axis=axis) for index in (0, -1))  # fast check, which most arrays fail
    return bool(np.array_equal(first, last) and np.array_equal(array, np.broadcast_to(first, array.shape)))


def _smaller(model: ir.Model, node: ir.Node, position: int, value: ir.Value) -> ir.Value | None:
    """Return a smaller value that can replace `value` as an input of the node; None if there is none."""
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
    """Return the channel axis of a bias that is added to a product; an empty set for other constants."""
    if node.op_type not in ("Add", "Sub"):
        return set()
    producer = producer_of(node.inputs[1 - position])
    if producer is None or producer.op_type not in _PRODUCTS:
        return set()
    return {ndim - _PRODUCTS[producer.op_type]}


def _free_axes(node: ir.Node, position: int) -> set[int]:
    """Return the axes of an input along which another input has the size of the result."""
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
