"""Constants that are the same for every image: a mask of windows that was repeated for the batch.

Such a constant is [B·k, …] and repeats every k. The other operand is reshaped to images and windows, combined with
the k windows by broadcasting, and reshaped back.
"""

from export.passes.dynamic_batch.place import Place
from export.passes.values import sizes_of


def free_periodic(place: Place) -> bool:
    """Rewrite a node that joins such a constant with something [B·k, …], and return whether it is one."""
    node, result, repeated = place.node, sizes_of(place.node.outputs[0]), place.repeated()
    if len(node.inputs) != 2 or repeated is None or repeated.axis != 0 or result is None:
        return False
    other, one = node.inputs[1 - place.position], repeated.one
    sizes = sizes_of(other)
    if other is None or sizes is None or sizes[:1] != result[:1] or not one.ndim == len(sizes) == len(result):
        return False
    parts = [place.images, len(one)]
    inputs = [place.constant(one[None]), place.reshape(other, [*parts, *sizes[1:]])]
    if place.position == 1:
        inputs.reverse()
    meeting = place.insert(node.op_type, inputs, [*parts, *result[1:]], node.outputs[0].dtype)
    place.replace_with(place.reshape(meeting, result))
    return True
