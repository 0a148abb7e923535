"""Rules, by operator, that rewrite a node so that it does not contain the batch size."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.constant_input import ConstantInput
from export.passes.dynamic_batch.repeat import broadcast_periodic, repeat
from export.passes.operators import BROADCAST
from export.passes.values import array_of, is_constant, sizes_of

_AXIS_END = np.iinfo(np.int64).max


def contains_batch(operand: ConstantInput) -> bool:
    """Return whether a constant has the batch size in its shape, or as an element if its elements are sizes."""
    if any(operand.is_batch(size) for size in operand.array.shape):
        return True
    if (operand.node.op_type, operand.position) == ("Slice", 2):  # only an end along a batch axis is a batch size
        return any(operand.is_batch(end) and operand.is_batch(size) for end, size in _ends(operand))
    holds_sizes = (operand.node.op_type, operand.position) in _SIZES
    return holds_sizes and any(operand.is_batch(int(size)) for size in operand.array.reshape(-1))


def make_dynamic(operand: ConstantInput) -> bool:
    """Rewrite a node so that it accepts any batch size; return whether that was possible."""
    if operand.node.op_type in BROADCAST:
        return broadcast_periodic(operand) or repeat(operand)
    place = operand.node.op_type, operand.position
    if place in _SIZES:
        return place in _RULES and _RULES[place](operand)
    return repeat(operand)


def _reshape(operand: ConstantInput) -> bool:
    """Make Reshape infer the one size that is a multiple of the batch size."""
    sizes = sizes_of(operand.node.outputs[0])
    if sizes is None or sum(map(operand.is_batch, sizes)) != 1:
        return False
    operand.put([-1 if operand.is_batch(size) else size for size in sizes])
    return True


def _expand(operand: ConstantInput) -> bool:
    """Expand to 1 along axes that already have the batch size."""
    wanted, source = operand.array.tolist(), sizes_of(operand.node.inputs[0])
    if source is None:
        return False
    there = (*(1 for _ in range(len(wanted) - len(source))), *source)
    if any(operand.is_batch(size) and there[axis - len(wanted)] != size for axis, size in enumerate(wanted)):
        return False
    operand.put([1 if operand.is_batch(size) else size for size in wanted])
    return True


def _slice_end(operand: ConstantInput) -> bool:
    """Slice to the end of the axis."""
    ends = [(end, operand.is_batch(end) and operand.is_batch(size), size) for end, size in _ends(operand)]
    if any(of_batch and end < size for end, of_batch, size in ends):
        return False
    operand.put([_AXIS_END if of_batch else end for end, of_batch, _ in ends])
    return True


def _ends(operand: ConstantInput) -> list[tuple[int, int]]:
    """Return the ends of a Slice, each with the size of its axis."""
    sizes = sizes_of(operand.node.inputs[0])
    axes = operand.node.inputs[3] if len(operand.node.inputs) > 3 else None
    assert sizes is not None, "shapes are static until the batch becomes dynamic"
    assert axes is None or is_constant(axes), "torch.onnx gives axes as constants"
    which = range(len(operand.array)) if axes is None else array_of(axes).tolist()
    return [(end, sizes[axis]) for end, axis in zip(operand.array.tolist(), which, strict=True)]


def _resize_sizes(operand: ConstantInput) -> bool:
    """Replace sizes by scale factors, or by the sizes of the axes after the first two if factors are inexact.

    Factors are rounded up, so that ONNX's shape inference finds the size in double precision: 6 · float32(5/6) is less
    than 5. With mode nearest, a factor that is too large would select another pixel.
    """
    sizes, before = operand.array, np.asarray(sizes_of(operand.node.inputs[0]) or ())
    if (
        not before.size
        or any(map(operand.is_batch, sizes[1:].tolist()))
        or operand.node.attributes.get_ints("axes", None) is not None
    ):
        return False
    factors = (sizes / before).astype(np.float32)
    if operand.node.attributes.get_string("mode", "nearest") != "nearest":
        larger = np.nextafter(factors, np.float32(np.inf))
        factors = np.where(factors.astype(np.float64) * before < sizes, larger, factors)
    if (np.floor(factors.astype(np.float64) * before) == sizes).all():
        # After a Transpose, ONNX Runtime's optimiser permutes `sizes` as if there were no `axes`.
        operand.node.replace_input_with(2, operand.constant(factors))
        operand.node.resize_inputs(3)
    else:
        operand.node.attributes.add(ir.AttrInt64s("axes", list(range(2, len(sizes)))))
        operand.put(sizes[2:].tolist())
    return True


_RULES: dict[tuple[str, int], Callable[[ConstantInput], bool]] = {
    ("Expand", 1): _expand,
    ("Reshape", 1): _reshape,
    ("Resize", 3): _resize_sizes,
    ("Slice", 2): _slice_end,
}
"""Rules for inputs in `_SIZES`, by operator and position."""

_SIZES = {
    ("ConstantOfShape", 0),
    ("Expand", 1),
    ("Pad", 1),
    ("Range", 1),
    ("Reshape", 1),
    ("Resize", 3),
    ("Slice", 2),
    ("Split", 1),
    ("Tile", 1),
}
"""Inputs whose numbers are sizes or counts, by operator and position."""
