"""Constants that are equal for all images.

For a constant [B·k, …] with period k, such as a window mask, the other operand is reshaped to [B, k, …] and combined
with [1, k, …] by broadcasting. Operators that do not broadcast get the constant plus one zero per image, which repeats
it without the batch size.
"""

import numpy as np
import onnx_ir as ir

from export.passes.dynamic_batch.constant_input import ConstantInput
from export.passes.values import add_constant, add_node, name_of, sizes_of

_FLOAT = ir.DataType.FLOAT
_ADDED = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64}
"""Dtypes for which runtimes implement Add."""


def broadcast_periodic(operand: ConstantInput) -> bool:
    """Rewrite a node that combines such a constant with a tensor [B·k, …]; return whether it is one."""
    node, result, repeated = operand.node, sizes_of(operand.node.outputs[0]), operand.repeated()
    if len(node.inputs) != 2 or repeated is None or repeated.axis != 0 or result is None:
        return False
    other, one = node.inputs[1 - operand.position], repeated.one
    sizes = sizes_of(other)
    if other is None or sizes is None or sizes[:1] != result[:1] or not one.ndim == len(sizes) == len(result):
        return False
    parts = [operand.images, len(one)]
    inputs = [operand.constant(one[None]), operand.reshape(other, [*parts, *sizes[1:]])]
    if operand.position == 1:
        inputs.reverse()
    combined = add_node(node, node.op_type, inputs, [*parts, *result[1:]], dtype=node.outputs[0].dtype)
    operand.replace_with(operand.reshape(combined, result))
    return True


def repeat(operand: ConstantInput) -> bool:
    """Repeat the constant for each image of the batch; return whether it is equal for all images."""
    repeated, dtype = operand.repeated(), operand.value.dtype
    image = operand.model.graph.inputs[0]
    if repeated is None or (dtype not in _ADDED and dtype != ir.DataType.BOOL):
        return False
    if (sizes_of(image) or (0,))[0] != operand.images:
        return False
    axis, one = repeated
    parts = [*one.shape[:axis], operand.images, *one.shape[axis:]]  # […, B, k, …]
    sizes = [operand.images if index == axis else 1 for index in range(len(parts))]
    false_per_image = _false_per_image(operand, image, sizes)
    constant = operand.constant(np.expand_dims(one, axis))
    if dtype == ir.DataType.BOOL:
        whole = add_node(operand.node, "Or", [constant, false_per_image], parts)
    else:
        zeros = add_node(operand.node, "Cast", [false_per_image], sizes, {"to": dtype}, dtype)
        whole = add_node(operand.node, "Add", [constant, zeros], parts)
    operand.node.replace_input_with(operand.position, operand.reshape(whole, operand.array.shape))
    return True


def _false_per_image(operand: ConstantInput, image: ir.Value, sizes: list[int]) -> ir.Value:
    """Return False for each image: the exclusive or of its first number with itself.

    TensorRT slices no uint8 pixels, so they are cast first; clean-up merges this Cast with the network's.
    """
    if image.dtype == ir.DataType.UINT8:
        image = add_node(operand.node, "Cast", [image], sizes_of(image) or (), {"to": _FLOAT}, _FLOAT)
    rank = len(sizes_of(image) or ())
    starts, ends, axes = (
        add_constant(operand.model, np.asarray(numbers, dtype=np.int64), f"{name_of(image)}.{what}")
        for what, numbers in (("starts", [0] * (rank - 1)), ("ends", [1] * (rank - 1)), ("axes", range(1, rank)))
    )
    per_image = [operand.images, *[1] * (rank - 1)]
    first = add_node(operand.node, "Slice", [image, starts, ends, axes], per_image)
    as_bool = add_node(operand.node, "Cast", [first], per_image, {"to": ir.DataType.BOOL}, ir.DataType.BOOL)
    differs = add_node(operand.node, "Xor", [as_bool, as_bool], per_image)
    return operand.reshape(differs, sizes)
