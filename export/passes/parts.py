"""Parts of the inputs that an operator needs for a part of its result, which is a range of one axis.

Each operator has one rule; an operator without a rule is computed completely. Rules require static shapes, so they
apply before the batch becomes dynamic.
"""

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import NamedTuple

import onnx_ir as ir

from export.passes.operators import BROADCAST, ELEMENTWISE, NORMS, REDUCTIONS, axis_of, order_of, reduced_axes
from export.passes.values import Sizes, integers_of, sizes_of


class Part(NamedTuple):
    """Positions `start` to `stop`, exclusive, of an axis, which is not negative."""

    axis: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.stop - self.start


class Needed(NamedTuple):
    """Parts of the inputs that are needed for a part of a result.

    Attributes:
        made: the part that is computed: the requested part, or a larger one if only whole rows can be computed.
        inputs: part of each input, by position; the other inputs are needed completely.
    """

    made: Part
    inputs: dict[int, Part]


Rule = Callable[[ir.Node, Part, list[Sizes], Sizes], Needed | None]


def needed(node: ir.Node, part: Part) -> Needed | None:
    """Return what a node needs for a part of its first output (Split: of each output); None if there is no rule."""
    rule = RULES.get(node.op_type) if node.domain == "" else None
    sizes = [() if value is None else sizes_of(value) for value in node.inputs]
    result = sizes_of(node.outputs[0])
    if rule is None or result is None or any(size is None or 0 in size for size in (*sizes, result)):
        return None
    if node.op_type != "Split" and any(output.uses() for output in node.outputs[1:]):
        return None
    return rule(node, part, [size for size in sizes if size is not None], result)


def _broadcast(_node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed:
    """Align axes from the last; an input without the axis, or with size 1 there, is needed completely."""
    behind = len(result) - part.axis
    inputs = {
        position: part._replace(axis=len(size) - behind)
        for position, size in enumerate(sizes)
        if len(size) >= behind and size[-behind] > 1
    }
    return Needed(part, inputs)


def _matmul(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Map rows to the left operand, columns to the right one, and broadcast leading axes."""
    if min(map(len, sizes)) < 2:
        return None
    behind = len(result) - part.axis
    if behind > 2:
        return _broadcast(node, part, sizes, result)
    factor = 2 - behind  # 0, the left operand, for rows; 1, the right operand, for columns
    return Needed(part, {factor: part._replace(axis=len(sizes[factor]) - behind)})


def _along_others(joined_axes: Callable[[ir.Node, int], Collection[int] | None]) -> Rule:
    """Return the rule of an operator that combines elements along some axes of its first input.

    `joined_axes` is called with the node and the rank of the input; it returns None if the axes are unknown.
    """

    def rule(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
        rank = len(sizes[0])
        joined = joined_axes(node, rank)
        if joined is None:
            return None
        there = [axis for axis in range(rank) if axis not in joined or len(result) == rank]
        axis = there[part.axis]
        return None if axis in joined else Needed(part, {0: part._replace(axis=axis)})

    return rule


def _normalised_axes(node: ir.Node, rank: int) -> set[int] | None:
    first = axis_of(node, rank, -1)
    ranks = [len(value.shape) for value in node.inputs[1:] if value is not None and value.shape is not None]
    return set(range(first, rank)) if all(size <= rank - first for size in ranks) else None


def _sliced_axes(node: ir.Node, rank: int) -> set[int] | None:
    axes = integers_of(node, 3)
    return None if axes is None else {int(axis) % rank for axis in axes}


def _concat(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Need a part of each input; along the concatenated axis, a part of the input that contains the whole part."""
    if part.axis != axis_of(node, len(result)):
        return Needed(part, dict.fromkeys(range(len(sizes)), part))
    before = 0
    for position, size in enumerate(sizes):
        if before <= part.start and part.stop <= before + size[part.axis]:
            return Needed(part, {position: Part(part.axis, part.start - before, part.stop - before)})
        before += size[part.axis]
    return None


def _gather(node: ir.Node, part: Part, sizes: list[Sizes], _result: Sizes) -> Needed:
    """Need a part of the indices, or a part of the data along another axis."""
    axis, rank = axis_of(node, len(sizes[0])), len(sizes[1])
    if part.axis < axis:
        return Needed(part, {0: part})
    if part.axis < axis + rank:
        return Needed(part, {1: part._replace(axis=part.axis - axis)})
    return Needed(part, {0: part._replace(axis=part.axis - rank + 1)})


def _reshape(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Need a part of the same axis, of the axis from which it was split, or of the first axis merged into it.

    In all three cases the axes before both axes have equally many elements. In the last case only whole rows of the
    other merged axes can be computed. Squeeze without axes is declined, as it would drop an axis that is cut to size 1.
    """
    if integers_of(node, 1) is None:
        return None
    source, size, before = sizes[0], result[part.axis], prod(result[: part.axis])
    axis = next((i for i, there in enumerate(source) if there > 1 and prod(source[:i]) == before), None)
    if axis is None:
        return None
    there = source[axis]
    if there % size == 0:
        inner = there // size
        return Needed(part, {0: Part(axis, part.start * inner, part.stop * inner)})
    if size % there == 0:
        inner = size // there
        start, stop = part.start // inner, -(-part.stop // inner)
        return Needed(Part(part.axis, start * inner, stop * inner), {0: Part(axis, start, stop)})
    return None


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, lambda _node, part, _sizes, _result: Needed(part, {0: part})),
    **dict.fromkeys(BROADCAST, _broadcast),
    **dict.fromkeys(REDUCTIONS, _along_others(reduced_axes)),
    **dict.fromkeys(NORMS, _along_others(_normalised_axes)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _along_others(lambda node, rank: {axis_of(node, rank, -1)})),
    "Concat": _concat,
    "Gather": _gather,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Slice": _along_others(_sliced_axes),
    "Split": _along_others(lambda node, rank: {axis_of(node, rank)}),
    "Squeeze": _reshape,
    "Transpose": lambda node, part, _, result: Needed(
        part, {0: part._replace(axis=order_of(node, len(result))[part.axis])}
    ),
    "Unsqueeze": _reshape,
}
"""Rules by operator."""
