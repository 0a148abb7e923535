"""Lookups with an index that is the same for every image: relative positions in scores, sampled tables.

torch.gather and grid_sample need one copy per image; Gather with constant indices and a single table do not.
"""

import math

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.place import Array, Place
from export.passes.unbroadcast import is_uniform
from export.passes.values import sizes_of


def gather_by_constants(place: Place) -> bool:
    """Replace GatherElements with an index [B·k, …] by a Gather from rows that contain all elements that it may read.

    Axes before the one that is looked up, along which the index is the same (the heads of attention), are rows as well.
    """
    node, repeated = place.node, place.repeated()
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
    assert source is not None, "GatherElements reads data"
    flat = place.reshape(source, [count, math.prod(inner)])
    found = place.insert("Gather", [flat, place.constant(offsets)], [count, *one.shape], attributes={"axis": 1})
    place.replace_with(place.reshape(found, result))
    return True


def sample_one_table(place: Place) -> bool:
    """Store one copy of the table [B·k, C, …] of a GridSample: the points of all images are joined as those of one."""
    node, repeated, grid = place.node, place.repeated(), node_input(place, 1)
    points, result = sizes_of(grid), sizes_of(node.outputs[0])
    if repeated is None or repeated.axis != 0 or points is None or result is None or points[0] != result[0]:
        return False
    tables, images = len(repeated.one), place.images
    inner, rank = list(points[1:]), len(points) - 2
    apart = place.reshape(grid, [images, tables, *inner])
    order = [1, 0, *range(2, len(points) + 1)]
    swapped = place.insert("Transpose", [apart], [tables, images, *inner], attributes={"perm": order})
    joined = place.reshape(swapped, [tables, images * inner[0], *inner[1:]])
    inputs = [place.constant(repeated.one), joined]
    sampled = place.insert("GridSample", inputs, [tables, result[1], images * inner[0], *inner[1:-1]])
    producer = sampled.producer()
    assert producer is not None, "it was just made"
    producer.attributes.update(node.attributes)
    parted = place.reshape(sampled, [tables, result[1], images, *inner[:-1]])
    back = [2, 0, 1, *range(3, rank + 3)]
    turned = place.insert("Transpose", [parted], [images, tables, *result[1:]], attributes={"perm": back})
    place.replace_with(place.reshape(turned, result))
    return True


def node_input(place: Place, position: int) -> ir.Value:
    """Return another input of the node."""
    value = place.node.inputs[position]
    assert value is not None, "the operator needs it"
    return value
