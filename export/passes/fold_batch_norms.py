"""Folding of batch normalisation with running statistics into the products around it."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, known_sizes
from export.passes.exact import NotFoldedError, exact, replace
from export.passes.sweep import FoldingPass
from export.passes.values import add_constant, add_node, input_of, is_constant, name_of, remove
from export.passes.walks import fold_above, fold_below


class FoldBatchNorms(FoldingPass):
    """Replace BatchNormalization, which is x·f + s with f = γ/√(σ² + ε) and s = β − μ·f.

    1. If every reader is a product with a weight, and with a bias if s is not 0, f and s are folded into the readers.
    2. Otherwise f is folded into the producer of x, as in `FoldScales`, and an Add of s remains for `FoldShifts`.
    3. Declined, with the reason logged and kept in `declined`, if neither is possible.
    """

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Replace a BatchNormalization."""
        if node.domain != "" or node.op_type != "BatchNormalization" or not all(map(is_constant, node.inputs[1:])):
            return False
        _fold(model, node)
        return True


def _fold(model: ir.Model, node: ir.Node) -> None:
    left, result = input_of(node, 0), node.outputs[0]
    if len(node.outputs) > 1 or result.is_graph_output() or result.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("in training mode, not float32, or a graph output")
    scale, shift, mean, variance = (exact(given) for given in node.inputs[1:] if given is not None)
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    channels = (1, -1, *(1,) * (len(known_sizes(left)) - 2))
    affine = Affine(factor.reshape(channels), (shift - mean * factor).reshape(channels))
    try:
        steps = fold_below(model, result, affine)
    except NotFoldedError as below:
        try:
            steps = fold_above(model, left, affine.factor, node)
        except NotFoldedError as above:
            raise NotFoldedError(f"upstream: {above}; downstream: {below}") from above
        constant = add_constant(model, affine.shift.astype(np.float32), name_of(input_of(node, 2)))
        replace(constant, affine.shift)
        left = add_node(node, "Add", [left, constant], known_sizes(result))
    for step in steps:
        step()
    remove(node, left)
