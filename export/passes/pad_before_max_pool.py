"""Padding before MaxPool in a form that runtimes do not merge into it.

MaxPool ignores its own padding. ONNX Runtime (below opset 22) and onnxsim nevertheless merge a preceding Pad with zeros
into it, so windows of negative elements at the border have a negative maximum instead of 0 (onnxsim issue 290).
"""

import numpy as np
import onnx_ir as ir

from export.passes.sweep import Sweep
from export.passes.values import (
    add_constant,
    add_node,
    array_of,
    input_of,
    integers_of,
    name_of,
    producer_of,
    shape_of,
    sizes_of,
)


class PadBeforeMaxPool(Sweep):
    """Replace MaxPool(Pad(x)) with zeros by MaxPool(Max(Pad(x, -inf), frame)).

    1. The frame is 0 where x is padded, and -inf elsewhere, so the result is exact.
    2. The Pad adds constant zeros to axes after the first two, by a constant number, and shapes are static.
    """

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Replace the input of a MaxPool."""
        pad = producer_of(node.inputs[0]) if node.op_type == "MaxPool" else None
        if pad is None or not _pads_zeros(pad):
            return False
        pads, padded, source = input_of(pad, 1), pad.outputs[0], input_of(pad, 0)
        lowest = np.full((1, 1, *shape_of(source)[2:]), -np.inf, np.float32)
        frame = np.pad(lowest, array_of(pads).reshape(2, -1).T)
        nothing = add_constant(model, lowest.reshape(-1)[0], f"{name_of(padded)}.lowest")
        bordered = add_node(node, "Pad", [source, pads, nothing], shape_of(padded))
        framed = [bordered, add_constant(model, frame, f"{name_of(padded)}.frame")]
        node.replace_input_with(0, add_node(node, "Max", framed, shape_of(padded)))
        return True


def _pads_zeros(node: ir.Node) -> bool:
    if node.op_type != "Pad" or node.attributes.get_string("mode", "constant") != "constant" or len(node.inputs) > 3:
        return False
    pads, filling = integers_of(node, 1), node.inputs[2] if len(node.inputs) > 2 else None
    if pads is None or sizes_of(node.inputs[0]) is None or sizes_of(node.outputs[0]) is None:
        return False
    zeros = filling is None or (filling.const_value is not None and not array_of(filling).any())
    return zeros and pads.min() >= 0 and not pads.reshape(2, -1)[:, :2].any()
