"""A no-op Reshape that avoids a crash of ONNX Runtime 1.31.

Its CPU provider has no float16 MatMul, so it puts Casts around one in float32. Where the left factor comes from a
Transpose that moves the first axis to the last but one place, as iRPE's values have it, opening a session then ends the
process by a segmentation fault (in NchwcTransformer, after MatmulTransposeFusion). In float32 nothing crashes.
"""

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, add_node


class PartTransposes(ir.passes.InPlacePass):
    """Put a Reshape to the same shape between such a Transpose and each MatMul that reads it as its left factor.

    An Identity would be removed before the fusion; a Reshape is a view and costs nothing.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert what is needed, and return whether anything was inserted."""
        modified = False
        for node in list(model.graph):
            left = node.inputs[0] if node.op_type == "MatMul" else None
            producer = None if left is None else left.producer()
            if left is not None and producer is not None and _moves_first_axis(producer):
                node.replace_input_with(0, _reshaped(model, node, left))
                modified = True
        return ir.passes.PassResult(model, modified)


def _moves_first_axis(node: ir.Node) -> bool:
    order = node.attributes.get_ints("perm", ()) if node.op_type == "Transpose" else ()
    return len(order) > 1 and list(order) == [*range(1, len(order) - 1), 0, len(order) - 1]


def _reshaped(model: ir.Model, reader: ir.Node, value: ir.Value) -> ir.Value:
    """Return `value` through a Reshape before `reader`, its shape given as "as it is" for each axis."""
    assert value.shape is not None, "values of a traced graph have shapes"
    sizes = add_constant(model, np.array([0] * (len(value.shape) - 1) + [-1], np.int64), f"{value.name}_sizes")
    return add_node(reader, "Reshape", [value, sizes], value.shape)
