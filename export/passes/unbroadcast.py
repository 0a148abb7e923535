"""Constants and tensors without the repetition that an operator's broadcasting does by itself."""

import numpy as np
import onnx_ir as ir

from export.passes.operators import BROADCAST
from export.passes.sweep import Sweep
from export.passes.values import Array, add_constant, array_of, is_constant, name_of, producer_of, sizes_of

_PRODUCTS = {"MatMul": 1, "Gemm": 1, "Conv": 3, "ConvTranspose": 3}
"""Operators with a bias behind them, and the axis of their channels, counted from the end; images have two more."""


class Unbroadcast(Sweep):
    """Shrink what operators that broadcast read.

    1. An axis along which all of a constant is the same becomes 1.
    2. What Expand has repeated is read from before it.
    3. An axis stays where no other input gives the result its size along it, and so do MatMul's last two.
    4. The bias of a product keeps its channels, though all of them be alike: TensorRT joins the two, and takes a bias
       for as many numbers as there are channels (TensorRT-RTX 1.7: "logical memory size … payload size (4)").
    5. Sizes must be known; so this runs while the batch is still a number.
    """

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Shrink what a node reads."""
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
    first, last = (array.take([index], axis=axis) for index in (0, -1))  # most that differ do so here
    return bool(np.array_equal(first, last) and np.array_equal(array, np.broadcast_to(first, array.shape)))


def _smaller(model: ir.Model, node: ir.Node, position: int, value: ir.Value) -> ir.Value | None:
    """Return what the node can read in place of `value`, if that is smaller."""
    free = _free_axes(node, position)
    if is_constant(value):
        array = array_of(value)
        axes = {axis for axis in free if is_uniform(array, axis)}
        if len(axes) == sum(size > 1 for size in array.shape):  # one number would be left
            axes -= _channels_of_product(node, position, array.ndim)
        if not axes:
            return None
        kept = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(array.ndim))
        return add_constant(model, array[kept], name_of(value))
    producer, sizes = value.producer(), sizes_of(value)
    source = producer.inputs[0] if producer is not None and producer.op_type == "Expand" else None
    before = sizes_of(source)
    if before is None or sizes is None:
        return None
    aligned = (*[1] * (len(sizes) - len(before)), *before)
    repeated = {axis for axis, size in enumerate(sizes) if aligned[axis] != size}
    return source if repeated <= free else None


def _channels_of_product(node: ir.Node, position: int, ndim: int) -> set[int]:
    """Return the axis of a constant that is added to a product's channels; nothing for any other constant."""
    if node.op_type not in ("Add", "Sub"):
        return set()
    producer = producer_of(node.inputs[1 - position])
    if producer is None or producer.op_type not in _PRODUCTS:
        return set()
    return {ndim - _PRODUCTS[producer.op_type]}


def _free_axes(node: ir.Node, position: int) -> set[int]:
    """Return the axes of an input that other inputs give the result's size."""
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
