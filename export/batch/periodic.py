"""Constants that are the same for every image: a mask of windows that was repeated for the batch.

Such a constant is [B·k, …] and says the same every k. What meets it is taken apart into images and windows, meets the k
once, and is put together again.
"""

import numpy as np
import onnx_ir as ir

from export.batch.place import Place
from export.passes.values import add_constant, name_of, sizes_of


def free_periodic(place: Place) -> bool:
    """Rewrite a node that joins such a constant with something [B·k, …], and return whether it is one."""
    array, node, result = place.array, place.node, sizes_of(place.node.outputs[0])
    if len(node.inputs) != 2 or [place.is_batch(size) for size in array.shape] != [True] + [False] * (array.ndim - 1):
        return False
    period = len(array) // place.images
    parts = array.reshape(place.images, period, *array.shape[1:])
    other = node.inputs[1 - place.position]
    sizes = sizes_of(other)
    if other is None or sizes is None or sizes != result or array.ndim != len(sizes) or not (parts == parts[:1]).all():
        return False
    inputs: list[ir.Value | None] = list(node.inputs)
    inputs[place.position] = add_constant(place.model, parts[:1], name_of(place.value))
    inputs[1 - place.position] = _reshape(place, other, [-1, period, *sizes[1:]])
    meeting = ir.node(node.op_type, inputs, metadata_props=dict(node.metadata_props))
    place.model.graph.insert_before(node, meeting)
    meeting.outputs[0].type = node.outputs[0].type
    meeting.outputs[0].shape = ir.Shape([place.images, period, *sizes[1:]])
    together = _reshape(place, meeting.outputs[0], [-1, *sizes[1:]])
    together.shape = ir.Shape(sizes)
    node.outputs[0].replace_all_uses_with(together, replace_graph_outputs=True)
    place.model.graph.remove(node, safe=True)
    return True


def _reshape(place: Place, value: ir.Value, shape: list[int]) -> ir.Value:
    """Put a Reshape before the node, and return what it yields."""
    constant = add_constant(place.model, np.asarray(shape, dtype=np.int64), f"{name_of(place.node.outputs[0])}.shape")
    reshape = ir.node("Reshape", [value, constant])
    place.model.graph.insert_before(place.node, reshape)
    reshape.outputs[0].type = value.type
    reshape.outputs[0].shape = ir.Shape([place.images if size == -1 else size for size in shape])
    return reshape.outputs[0]
