"""Workaround for an error of OpenVINO 2026.4: Gathers with a matrix of indices are read as a list in int8 graphs.

OpenVINO moves the scales of a convolution's channels behind the operators that follow it. Behind a Gather whose index
has several axes (the overlapping blocks of HaloNet), their shape is wrong, and the graph cannot be compiled.
"""

import numpy as np
import onnx_ir as ir

from export.passes.operators import axis_of
from export.passes.values import add_constant, add_node, array_of, input_of, is_constant, remove


class FlatGathers(ir.passes.InPlacePass):
    """Replace Gathers with constant indices of several axes by a Gather of one axis and a Reshape (a view)."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace the Gathers."""
        found = [node for node in model.graph if node.op_type == "Gather" and _has_matrix(node)]
        for node in found:
            _flatten(model, node)
        return ir.passes.PassResult(model, bool(found))


def _has_matrix(node: ir.Node) -> bool:
    indices = input_of(node, 1)
    return is_constant(indices) and array_of(indices).ndim > 1 and not node.outputs[0].is_graph_output()


def _flatten(model: ir.Model, node: ir.Node) -> None:
    data, places, result = input_of(node, 0), array_of(input_of(node, 1)), node.outputs[0]
    assert data.shape is not None, "values of a traced graph have shapes"
    assert result.shape is not None, "values of a traced graph have shapes"
    axis = axis_of(node, len(data.shape))
    flat = add_constant(model, places.reshape(-1), f"{result.name}_indices")
    shape = [*data.shape[:axis], places.size, *data.shape[axis + 1 :]]
    listed = add_node(node, "Gather", [data, flat], shape, {"axis": axis})
    new = [0] * axis + [side if isinstance(side, int) else -1 for side in result.shape[axis:]]
    sizes = add_constant(model, np.array(new, np.int64), f"{result.name}_sizes")
    remove(node, add_node(node, "Reshape", [listed, sizes], result.shape))
