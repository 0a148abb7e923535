"""Lookups with constant indices or a constant table: relative positions in scores, sampled bias tables.

torch.gather needs one copy of the index per image, and grid_sample one copy of the table; the rewritten nodes need one.
"""

import math

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.constant_input import Array, ConstantInput
from export.passes.unbroadcast import is_uniform
from export.passes.values import sizes_of


def gather_by_constants(operand: ConstantInput) -> bool:
    """Replace GatherElements with an index [B·k, …] that is equal for all images by one Gather from flattened rows.

    Axes before the indexed one along which the index is uniform, such as attention heads, are batch axes of the Gather.
    """
    node, repeated = operand.node, operand.repeated()
    data, result = sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    axis = node.attributes.get_int("axis", 0)
    if repeated is None or repeated.axis != 0 or data is None or result is None or axis % len(data) == 0:
        return False
    axis, one = axis % len(data), repeated.one
    rows = 1
    if len(one) == 1:
        while rows < axis and result[rows] == data[rows] and is_uniform(one, rows):
            one, rows = one.take([0], axis=rows), rows + 1
        one, inner = one.reshape(result[rows:]), data[rows:]
    else:
        inner = (len(one), *data[1:])
    places: list[Array] = list(np.indices(one.shape, sparse=True))
    places[axis - (len(data) - len(inner))] = one % data[axis]
    offsets = np.asarray(np.ravel_multi_index(tuple(np.broadcast_arrays(*places)), inner), dtype=np.int64)
    count = math.prod(data) // math.prod(inner)
    source = node.inputs[0]
    assert source is not None, "GatherElements has data"
    flat = operand.reshape(source, [count, math.prod(inner)])
    found = operand.insert("Gather", [flat, operand.constant(offsets)], [count, *one.shape], attributes={"axis": 1})
    operand.replace_with(operand.reshape(found, result))
    return True


def sample_one_table(operand: ConstantInput) -> bool:
    """Store one copy of the table [B·k, C, …] of a GridSample; the points of all images become points of one image."""
    node, repeated, grid = operand.node, operand.repeated(), other_input(operand, 1)
    points, result = sizes_of(grid), sizes_of(node.outputs[0])
    if repeated is None or repeated.axis != 0 or points is None or result is None or points[0] != result[0]:
        return False
    tables, images = len(repeated.one), operand.images
    inner, rank = list(points[1:]), len(points) - 2
    apart = operand.reshape(grid, [images, tables, *inner])
    order = [1, 0, *range(2, len(points) + 1)]
    swapped = operand.insert("Transpose", [apart], [tables, images, *inner], attributes={"perm": order})
    joined = operand.reshape(swapped, [tables, images * inner[0], *inner[1:]])
    inputs = [operand.constant(repeated.one), joined]
    sampled = operand.insert("GridSample", inputs, [tables, result[1], images * inner[0], *inner[1:-1]])
    producer = sampled.producer()
    assert producer is not None, "the node was just inserted"
    producer.attributes.update(node.attributes)
    parted = operand.reshape(sampled, [tables, result[1], images, *inner[:-1]])
    back = [2, 0, 1, *range(3, rank + 3)]
    turned = operand.insert("Transpose", [parted], [images, tables, *result[1:]], attributes={"perm": back})
    operand.replace_with(operand.reshape(turned, result))
    return True


def other_input(operand: ConstantInput, position: int) -> ir.Value:
    """Return another input of the node."""
    value = operand.node.inputs[position]
    assert value is not None, "the operator requires this input"
    return value
