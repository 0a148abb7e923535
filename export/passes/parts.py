"""Inputs that an operator needs to make a part of its result: the rows of one axis, exactly as in the whole.

A rule for each operator, by name; what has none is made as a whole. Rules ask for sizes, so they hold while the batch
is still a number.
"""

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import NamedTuple

import onnx_ir as ir

from export.passes.operators import BROADCAST, ELEMENTWISE, NORMS, REDUCTIONS, axis_of, order_of, reduced_axes
from export.passes.values import Sizes, integers_of, sizes_of


class Part(NamedTuple):
    """Places `start` to `stop`, exclusive, of an axis that is counted from the first."""

    axis: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of places."""
        return self.stop - self.start


class Needed(NamedTuple):
    """Inputs of a part of a result.

    Attributes:
        made: what comes of it: what was asked for, or more where only whole rows can be made.
        inputs: by position; other inputs are needed as they are.
    """

    made: Part
    inputs: dict[int, Part]


Rule = Callable[[ir.Node, Part, list[Sizes], Sizes], Needed | None]


def needed(node: ir.Node, part: Part) -> Needed | None:
    """Return what a node needs to make a part of its first result (of all of Split's), or None if that is not known."""
    rule = RULES.get(node.op_type) if node.domain == "" else None
    sizes = [() if value is None else sizes_of(value) for value in node.inputs]
    result = sizes_of(node.outputs[0])
    if rule is None or result is None or any(size is None or 0 in size for size in (*sizes, result)):
        return None
    if node.op_type != "Split" and any(output.uses() for output in node.outputs[1:]):
        return None
    return rule(node, part, [size for size in sizes if size is not None], result)


def _of_the_first(_node: ir.Node, part: Part, _sizes: list[Sizes], _result: Sizes) -> Needed:
    """Element by element."""
    return Needed(part, {0: part})


def _broadcast(_node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed:
    """Axes are aligned from the last; what is repeated along the axis, or lacks it, is needed as it is."""
    behind = len(result) - part.axis
    inputs = {
        position: part._replace(axis=len(size) - behind)
        for position, size in enumerate(sizes)
        if len(size) >= behind and size[-behind] > 1
    }
    return Needed(part, inputs)


def _matmul(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Rows are those of the left factor, columns those of the right, and stacks are broadcast."""
    if min(map(len, sizes)) < 2:
        return None
    behind = len(result) - part.axis
    if behind > 2:
        return _broadcast(node, part, sizes, result)
    factor = 2 - behind  # the left for rows, the right for columns
    return Needed(part, {factor: part._replace(axis=len(sizes[factor]) - behind)})


def _along_others(joined_axes: Callable[[ir.Node, int], Collection[int] | None]) -> Rule:
    """Return the rule of an operator that joins numbers along some axes, and keeps its first input's others.

    `joined_axes` gets the node and the rank of that input, and returns None if it does not know them.
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


def _padded_axes(node: ir.Node, rank: int) -> set[int] | None:
    pads = integers_of(node, 1)
    if pads is None or len(pads) != 2 * rank or len(node.inputs) > 3:  # with axes of its own, they may be in any order
        return None
    return {axis for axis in range(rank) if pads[axis] or pads[rank + axis]}


def _sliced_axes(node: ir.Node, rank: int) -> set[int] | None:
    axes = integers_of(node, 3)
    return None if axes is None else {int(axis) % rank for axis in axes}


def _transpose(node: ir.Node, part: Part, _sizes: list[Sizes], result: Sizes) -> Needed:
    return Needed(part, {0: part._replace(axis=order_of(node, len(result))[part.axis])})


def _concat(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Of each input; along the axis on which they are put together, of the one that holds it all, and of no other."""
    if part.axis != axis_of(node, len(result)):
        return Needed(part, dict.fromkeys(range(len(sizes)), part))
    before = 0
    for position, size in enumerate(sizes):
        if before <= part.start and part.stop <= before + size[part.axis]:
            return Needed(part, {position: Part(part.axis, part.start - before, part.stop - before)})
        before += size[part.axis]
    return None


def _gather(node: ir.Node, part: Part, sizes: list[Sizes], _result: Sizes) -> Needed:
    """Of the indices, or along another axis of what is gathered from."""
    axis, rank = axis_of(node, len(sizes[0])), len(sizes[1])
    if part.axis < axis:
        return Needed(part, {0: part})
    if part.axis < axis + rank:
        return Needed(part, {1: part._replace(axis=part.axis - axis)})
    return Needed(part, {0: part._replace(axis=part.axis - rank + 1)})


def _reshape(node: ir.Node, part: Part, sizes: list[Sizes], result: Sizes) -> Needed | None:
    """Of an axis that stays; of one that this is the first part of; of the first of those that it was made of.

    All three begin where as many numbers lie before them. In the last case only whole rows of the others can be made.
    Squeeze that names no axes would drop one that a part has come to.
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
    **dict.fromkeys(ELEMENTWISE, _of_the_first),
    **dict.fromkeys(BROADCAST, _broadcast),
    **dict.fromkeys(REDUCTIONS, _along_others(reduced_axes)),
    **dict.fromkeys(NORMS, _along_others(_normalised_axes)),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _along_others(lambda node, rank: {axis_of(node, rank, -1)})),
    "Concat": _concat,
    "Gather": _gather,
    "MatMul": _matmul,
    "Pad": _along_others(_padded_axes),
    "Reshape": _reshape,
    "Slice": _along_others(_sliced_axes),
    "Split": _along_others(lambda node, rank: {axis_of(node, rank)}),
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""By operator."""
