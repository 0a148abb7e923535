"""Folding of constant factors into weights: 1/√d of attention, layer scale, the standard deviation of pixels."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, aligned, known_sizes
from export.passes.exact import NotFoldedError, exact
from export.passes.sweep import FoldingPass
from export.passes.values import Array, add_node, constant_operand, input_of, is_constant, only_use, remove
from export.passes.walks import fold_above, fold_below


class FoldScales(FoldingPass):
    """Remove Mul and Div by a constant.

    1. The factor f is folded into the producer of x: a product with a weight, a norm, or another constant factor, also
       through added constants and data movement. The other columns of a packed product are multiplied by 1. For scores
       q·k, a factor that is uniform within each matrix is folded into q, or else into k.
    2. Otherwise, if every reader of x·f is a product with a weight, f is folded into these weights.
    3. Otherwise a factor of scores is moved to q, if q has fewer elements than the scores.
    4. Declined, with the reason logged and kept in `declined`, if another node reads a value that would change, if a
       weight has several readers, if a constant would grow or overflow, or if shapes are not static.
    """

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a factor, or move it to q."""
        position = constant_operand(node, ("Div", "Mul"))
        if position is None:
            return False
        try:
            _fold(model, node, position)
        except NotFoldedError:
            if not _move_to_smaller(node, position):
                raise
        return True


def _factor(node: ir.Node, position: int) -> tuple[ir.Value, Array]:
    """Return x and its factor, with the rank of x."""
    value = input_of(node, 1 - position)
    factor = aligned(exact(input_of(node, position)), value)
    if node.op_type == "Div":
        if not factor.all():
            raise NotFoldedError("the divisor contains 0")
        factor = 1 / factor
    if not np.isfinite(factor).all():
        raise NotFoldedError("the factor is not finite")
    return value, factor


def _fold(model: ir.Model, node: ir.Node, position: int) -> None:
    value, factor = _factor(node, position)
    if node.outputs[0].is_graph_output():
        raise NotFoldedError("the result is a graph output")
    try:
        steps = fold_above(model, value, factor, node)
    except NotFoldedError as above:
        try:
            steps = fold_below(model, node.outputs[0], Affine(factor, np.zeros((1,) * factor.ndim)))
        except NotFoldedError as below:
            raise NotFoldedError(f"upstream: {above}; downstream: {below}") from below
    for step in steps:
        step()
    remove(node, value)


def _move_to_smaller(node: ir.Node, position: int) -> bool:
    """Move a factor per matrix from the scores q·k to q, if q is smaller; return whether it was moved."""
    scores, constant = input_of(node, 1 - position), input_of(node, position)
    product = scores.producer()
    if product is None or product.op_type != "MatMul" or only_use(scores) is None or node.outputs[0].is_graph_output():
        return False
    query = input_of(product, 0)
    try:
        _, factor = _factor(node, position)
        sizes, before = known_sizes(scores), known_sizes(query)
    except NotFoldedError:
        return False
    if len(before) != len(sizes) or is_constant(query) or any(size > 1 for size in factor.shape[-2:]):
        return False
    if before[:-2] != sizes[:-2] or before[-1] >= sizes[-1]:
        return False
    scaled = add_node(product, node.op_type, [query, constant] if position == 1 else [constant, query], before)
    product.replace_input_with(0, scaled)
    remove(node, scores)
    return True
