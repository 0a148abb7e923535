"""Folding of LayerNormalization's scale and bias into the products that read it."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, known_sizes
from export.passes.exact import NotFoldedError, exact
from export.passes.operators import NORMS, axis_of
from export.passes.sweep import FoldingPass
from export.passes.values import Array, add_constant, input_of, is_constant
from export.passes.walks import fold_below


class FoldNorms(FoldingPass):
    """Fold a norm's scale γ and bias β into the products that read it: (x̂·γ + β)·W + b = x̂·(γ·W) + (β·W + b).

    1. Every reader of the norm must be a product with a weight that no other node reads, directly or after data
       movement or a mean over other axes. A norm that a residual connection reads stays unchanged.
    2. If β is not 0, each product must have a bias and no padding: a new Add would cost more than β in the norm.
    3. The norm must cover only the last axis. It keeps a scale of ones, shared by all norms of that size, and no bias.
    4. Declined, with the reason logged and kept in `declined`, if a condition is not met or shapes are not static.
    """

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a norm's scale and bias."""
        if node.domain != "" or node.op_type not in NORMS or not all(map(is_constant, node.inputs[1:])):
            return False
        scale, bias = _scale_and_bias(node)
        if bool((scale == 1).all()) and not bias.any():
            return False
        _check(node)
        axes = (1,) * (len(known_sizes(node.outputs[0])) - 1)
        for step in fold_below(model, node.outputs[0], Affine(scale.reshape(*axes, -1), bias.reshape(*axes, -1))):
            step()
        _make_plain(model, node)
        return True


def _scale_and_bias(node: ir.Node) -> tuple[Array, Array]:
    scale = exact(input_of(node, 1))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return scale, np.zeros_like(scale) if bias is None else exact(bias)


def _check(node: ir.Node) -> None:
    rank = len(known_sizes(node.outputs[0]))
    if axis_of(node, rank, -1) != rank - 1:
        raise NotFoldedError("the norm covers other axes than the last")
    if input_of(node, 1).dtype != ir.DataType.FLOAT:
        raise NotFoldedError("the norm is not float32")
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise NotFoldedError("the norm's mean or deviation is read")


def _make_plain(model: ir.Model, node: ir.Node) -> None:
    """Give a norm a scale of ones and no bias."""
    size = known_sizes(node.outputs[0])[-1]
    name = f"ones_{size}"
    ones = model.graph.initializers.get(name) or add_constant(model, np.ones(size, np.float32), name)
    node.replace_input_with(1, ones)
    node.resize_inputs(2)
