"""Workaround for a segmentation fault of ONNX Runtime 1.31: a no-op Reshape before some MatMuls.

The CPU provider has no float16 MatMul and inserts Casts around a float32 one. If the left operand is produced by a
Transpose that moves the first axis to the second-to-last position (iRPE on values), creating a session crashes in
NchwcTransformer, after MatmulTransposeFusion. Float32 graphs are not affected.
"""

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, add_node


class PartTransposes(ir.passes.InPlacePass):
    """Insert a Reshape to the same shape between such a Transpose and each MatMul that reads it as its left operand.

    An Identity would be removed before the fusion; a Reshape is a view and costs nothing.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert the Reshapes."""
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
    """Return the output of a Reshape of `value` to its own shape, inserted before `reader`."""
    assert value.shape is not None, "values of a traced graph have shapes"
    sizes = add_constant(model, np.array([0] * (len(value.shape) - 1) + [-1], np.int64), f"{value.name}_sizes")
    return add_node(reader, "Reshape", [value, sizes], value.shape)
