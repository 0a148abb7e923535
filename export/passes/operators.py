"""Operator properties that passes share: sets of operators by effect, and accessors of axes and positions."""

import numpy as np
import onnx_ir as ir

from export.passes.values import Array, integers_of, shape_of, sizes_of

ELEMENTWISE = frozenset(
    {"Abs", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "Log"}
    | {"HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid"}
    | {"Sign", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh"}
)
"""Element-wise operators of one input."""

REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
    | {"ReduceSumSquare"}
)
"""Reductions of one input along some axes."""

NORMS = frozenset({"LayerNormalization", "RMSNormalization"})
"""Normalisations over an axis and all later ones, with scale and bias."""

BROADCAST = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "Max", "Min", "Mod"}
    | {"Mul", "Or", "Pow", "Sub", "Where", "Xor"}
)
"""Operators with several inputs that are broadcast; for MatMul, all but the last two axes are."""


def axis_of(node: ir.Node, rank: int, default: int = 0) -> int:
    """Return the attribute `axis` as a non-negative number, for a tensor of `rank` axes."""
    return node.attributes.get_int("axis", default) % rank


def order_of(node: ir.Node, rank: int) -> list[int]:
    """Return the permutation of axes of a Transpose."""
    return list(node.attributes.get_ints("perm", range(rank)[::-1]))


def reduced_axes(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    """Return the axes of a reduction; None if they are missing or not constant."""
    axes = node.attributes.get_ints("axes", None) or integers_of(node, 1)
    return None if axes is None else tuple(int(axis) % rank for axis in axes)


def split_places(node: ir.Node) -> tuple[int, list[range]]:
    """Return the axis of a Split and the positions of each output; shapes must be static."""
    axis, start = axis_of(node, len(shape_of(node.inputs[0]))), 0
    places = []
    for output in node.outputs:
        places.append(range(start, start + shape_of(output)[axis]))
        start = places[-1].stop
    return axis, places


def places_read(node: ir.Node) -> tuple[int, Array] | None:
    """Return the axis along which a Slice or Gather reads its first input, and the positions; None if not constant.

    A Slice must have exactly one axis. The positions of a Gather have the shape of its indices.
    """
    if node.domain != "" or node.op_type not in ("Gather", "Slice"):
        return None
    sizes = sizes_of(node.inputs[0])
    given = [integers_of(node, position) for position in range(1, len(node.inputs))]
    numbers = [array for array in given if array is not None]
    if sizes is None or len(numbers) < len(given):
        return None
    if node.op_type == "Gather":
        axis = axis_of(node, len(sizes))
        return axis, numbers[0] % sizes[axis]
    if len(numbers) < 3 or any(array.size != 1 for array in numbers):
        return None
    start, stop, axis, step = (int(array.item()) for array in (*numbers, np.ones(1))[:4])
    return axis % len(sizes), np.arange(sizes[axis])[start:stop:step]
