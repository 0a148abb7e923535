"""Data-movement operators, and the effect of each on the index map of its input.

Each operator has one rule, which returns a map for each output or raises `DeclinedError` with the reason.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.operators import axis_of, order_of, split_places
from export.passes.values import array_of, input_of, integers_of, is_constant, shape_of, sizes_of

Rule = Callable[[ir.Node, Sequence[IndexMap]], list[IndexMap]]


def moves(node: ir.Node) -> bool:
    """Return whether a node only moves elements of its first input (Concat: all inputs) and its shapes are static."""
    if node.domain != "" or node.op_type not in RULES or any(sizes_of(output) is None for output in node.outputs):
        return False
    data = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    others = node.inputs[len(data) :]
    if any(sizes_of(value) is None or 0 in (sizes_of(value) or ()) or is_constant(value) for value in data):
        return False
    return all(value is None or is_constant(value) for value in others)


def sources_of(node: ir.Node) -> list[ir.Value]:
    """Return the inputs whose elements a node moves."""
    data = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return [value for value in data if value is not None]


def map_through(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    """Return the map of each output of a node, given the maps of the inputs whose elements it moves.

    Raises:
        DeclinedError: the rule of the operator does not cover the node, or a table would be too large.
    """
    made = RULES[node.op_type](node, maps)
    for output, one in zip(node.outputs, made, strict=True):
        assert one.shape == sizes_of(output), f"{node.op_type} of {node.name}: {one.shape}, {output.shape}"
    return made


def _gather(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    shape, index = maps[0].shape, array_of(input_of(node, 1))
    axis = axis_of(node, len(shape))
    places = index.astype(np.int64) % shape[axis]
    if places.size == 1:
        kept = maps[0].slice(axis, int(places.reshape(())), 1)
        return [kept.reshape([*shape[:axis], *index.shape, *shape[axis + 1 :]])]
    return [maps[0].take(axis, places)]


def _slice(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    starts, ends = (array_of(input_of(node, position)).tolist() for position in (1, 2))
    axes, steps = integers_of(node, 3), integers_of(node, 4)
    one = maps[0]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (number if axes is None else int(axes[number])) % len(one.axes)
        step = 1 if steps is None else int(steps[number])
        if step < 1:
            raise DeclinedError("Slice with a negative step")
        places = range(one.shape[axis])[slice(start, end, step)]
        one = one.slice(axis, places.start, len(places), step)
    return [one]


def _split(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    axis, parts = split_places(node)
    return [maps[0].slice(axis, part.start, len(part)) for part in parts]


def _depth_to_space(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    block = node.attributes.get_int("blocksize")
    batch, depth, height, width = maps[0].shape
    left = depth // block**2
    if node.attributes.get_string("mode", "DCR") == "DCR":
        apart = maps[0].reshape([batch, block, block, left, height, width]).transpose([0, 3, 4, 1, 5, 2])
    else:
        apart = maps[0].reshape([batch, left, block, block, height, width]).transpose([0, 1, 4, 2, 5, 3])
    return [apart.reshape([batch, left, height * block, width * block])]


def _space_to_depth(node: ir.Node, maps: Sequence[IndexMap]) -> list[IndexMap]:
    block = node.attributes.get_int("blocksize")
    batch, depth, height, width = maps[0].shape
    apart = maps[0].reshape([batch, depth, height // block, block, width // block, block])
    return [apart.transpose([0, 3, 5, 1, 2, 4]).reshape(shape_of(node.outputs[0]))]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze"), lambda node, maps: [maps[0].reshape(shape_of(node.outputs[0]))]
    ),
    "Concat": lambda node, maps: [IndexMap.concat(maps, axis_of(node, len(maps[0].axes)))],
    "DepthToSpace": _depth_to_space,
    "Gather": _gather,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Transpose": lambda node, maps: [maps[0].transpose(order_of(node, len(maps[0].axes)))],
}
"""Rules by operator."""
