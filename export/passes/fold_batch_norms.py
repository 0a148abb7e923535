"""Batch normalisation by running statistics, folded into the products around it."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, known_sizes
from export.passes.exact import NotFoldedError, exact, replace
from export.passes.folding_pass import FoldingPass
from export.passes.values import add_constant, is_constant, name_of
from export.passes.walks import fold_above, fold_below


class FoldBatchNorms(FoldingPass):
    """Replace BatchNormalization, which is x·f + s with f = γ/√(σ² + ε) and s = β − μ·f.

    1. Everything that reads it is a product with a weight, and a bias if s is not 0: these take both.
    2. Or else the product that makes x takes f, as in `FoldScales`, and an Add of s is left, which `FoldShifts` moves.
    3. Declined, with the reason logged and kept in `declined`, where there is neither.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace what can be replaced."""
        modified = False
        for node in list(model.graph):
            if node.domain != "" or node.op_type != "BatchNormalization" or not all(map(is_constant, node.inputs[1:])):
                continue
            try:
                _fold(model, node)
                modified = True
            except NotFoldedError as reason:
                self.decline(node, reason)
        return ir.passes.PassResult(model, modified)


def _fold(model: ir.Model, node: ir.Node) -> None:
    value, result, bias = node.inputs[0], node.outputs[0], node.inputs[2]
    assert value is not None, "the operator has an input"
    assert bias is not None, "the operator has a bias"
    if len(node.outputs) > 1 or result.is_graph_output() or result.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("it is in training, or not float32, or yields an output of the graph")
    scale, shift, mean, variance = (exact(given) for given in node.inputs[1:] if given is not None)
    factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    channels = (1, -1, *(1,) * (len(known_sizes(value)) - 2))
    affine = Affine(factor.reshape(channels), (shift - mean * factor).reshape(channels))
    try:
        steps = fold_below(model, result, affine)
        left = value
    except NotFoldedError as below:
        try:
            steps = fold_above(model, value, affine.factor, node)
        except NotFoldedError as above:
            raise NotFoldedError(f"above, {above}; below, {below}") from above
        left = _add(model, node, value, bias, affine)
    for step in steps:
        step()
    result.replace_all_uses_with(left)
    model.graph.remove(node, safe=True)


def _add(model: ir.Model, node: ir.Node, value: ir.Value, bias: ir.Value, affine: Affine) -> ir.Value:
    """Return x + s behind a node."""
    constant = add_constant(model, affine.shift.astype(np.float32), name_of(bias))
    replace(constant, affine.shift)
    add = ir.node("Add", [value, constant], metadata_props=dict(node.metadata_props))
    add.outputs[0].shape, add.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    model.graph.insert_after(node, add)
    return add.outputs[0]
