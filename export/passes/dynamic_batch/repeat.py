"""Constants that are the same for every image.

A constant [B·k, …] that repeats every k, such as a mask of windows, meets the other operand reshaped to images and
windows, by broadcasting. Operators that need one copy for each image get the constant plus one zero per image: the
batch size is not needed.
"""

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.place import Place
from export.passes.values import add_constant, name_of, sizes_of

_ADDED = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64}
"""Types that runtimes can add."""


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


def repeat(place: Place) -> bool:
    """Let the node read the constant as often as there are images, and return whether it is the same for all."""
    repeated, dtype = place.repeated(), place.value.dtype
    image = place.model.graph.inputs[0]
    if repeated is None or (dtype not in _ADDED and dtype != ir.DataType.BOOL):
        return False
    if (sizes_of(image) or (0,))[0] != place.images:
        return False
    axis, one = repeated
    parts = [*one.shape[:axis], place.images, *one.shape[axis:]]  # […, B, k, …]
    never = _never(place, image, [place.images if index == axis else 1 for index in range(len(parts))])
    constant = place.constant(np.expand_dims(one, axis))
    if dtype == ir.DataType.BOOL:
        whole = place.insert("Or", [constant, never], parts)
    else:
        zeros = place.insert("Cast", [never], sizes_of(never) or (), dtype, {"to": dtype})
        whole = place.insert("Add", [constant, zeros], parts)
    place.node.replace_input_with(place.position, place.reshape(whole, place.array.shape))
    return True


def _never(place: Place, image: ir.Value, sizes: list[int]) -> ir.Value:
    """Return False for each image: whatever its first number is, it does not differ from itself."""
    rank = len(sizes_of(image) or ())
    starts, ends, axes = (
        add_constant(place.model, np.asarray(numbers, dtype=np.int64), f"{name_of(image)}.{what}")
        for what, numbers in (("starts", [0] * (rank - 1)), ("ends", [1] * (rank - 1)), ("axes", range(1, rank)))
    )
    first = place.insert("Slice", [image, starts, ends, axes], [place.images, *[1] * (rank - 1)])
    as_bool = place.insert("Cast", [first], sizes_of(first) or (), ir.DataType.BOOL, {"to": ir.DataType.BOOL})
    differs = place.insert("Xor", [as_bool, as_bool], sizes_of(first) or ())
    return place.reshape(differs, sizes)
