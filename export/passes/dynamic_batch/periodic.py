"""Constants that are equal for all images, such as a window mask that was repeated for the batch.

Such a constant is [B·k, …] with period k. The other operand is reshaped to [B, k, …], combined with the constant
[1, k, …] by broadcasting, and reshaped back.
"""

from export.passes.dynamic_batch.constant_input import ConstantInput
from export.passes.values import sizes_of


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
    combined = operand.insert(node.op_type, inputs, [*parts, *result[1:]], node.outputs[0].dtype)
    operand.replace_with(operand.reshape(combined, result))
    return True
