"""LayerNormalization's scale and bias, folded into the products that read it."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, known_sizes
from export.passes.exact import Array, NotFoldedError, exact
from export.passes.folding_pass import FoldingPass
from export.passes.values import add_constant, is_constant, name_of
from export.passes.walks import fold_below

_NORMS = ("LayerNormalization", "RMSNormalization")


class FoldNorms(FoldingPass):
    """Fold a norm's scale γ and bias β into what reads it: (x̂·γ + β)·W + b = x̂·(γ·W) + (β·W + b).

    1. Everything that reads the norm is a product with a weight of its own, behind what only moves numbers or averages
       them over other axes. A residual connection keeps the norm as it is.
    2. With a bias other than 0, each product has a bias already, and reads no padding: another addition would cost more
       than the norm's.
    3. The norm is over the last axis. It keeps a scale of ones, which all norms of the size share, and no bias.
    4. Declined, with the reason logged and kept in `declined`, where a size is not known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold what can be folded."""
        modified = False
        for node in model.graph:
            if node.domain != "" or node.op_type not in _NORMS or not all(map(is_constant, node.inputs[1:])):
                continue
            scale, bias = _scale_and_bias(node)
            if bool((scale == 1).all()) and not bias.any():
                continue
            try:
                _check(node)
                axes = (1,) * (len(known_sizes(node.outputs[0])) - 1)
                steps = fold_below(model, node.outputs[0], Affine(scale.reshape(*axes, -1), bias.reshape(*axes, -1)))
            except NotFoldedError as reason:
                self.decline(node, reason)
                continue
            for step in steps:
                step()
            _make_plain(model, node)
            modified = True
        return ir.passes.PassResult(model, modified)


def _scale_and_bias(node: ir.Node) -> tuple[Array, Array]:
    scale, bias = (*node.inputs[1:], None)[:2]
    assert scale is not None, "a norm has a scale"
    numbers = exact(scale)
    return numbers, np.zeros_like(numbers) if bias is None else exact(bias)


def _check(node: ir.Node) -> None:
    rank, scale = len(known_sizes(node.outputs[0])), node.inputs[1]
    if node.attributes.get_int("axis", -1) % rank != rank - 1:
        raise NotFoldedError("it is over several axes")
    if scale is None or scale.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("it is not float32")
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise NotFoldedError("its mean or deviation is read")


def _make_plain(model: ir.Model, node: ir.Node) -> None:
    """Let a norm have a scale of ones and no bias."""
    size = known_sizes(node.outputs[0])[-1]
    name = f"ones_{size}"
    ones = model.graph.initializers.get(name) or add_constant(model, np.ones(size, np.float32), name)
    assert name_of(ones) == name
    node.replace_input_with(1, ones)
    node.resize_inputs(2)
