"""Constant factors, folded into weights: 1/√d of attention, layer scale, the deviation of pixels."""

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, aligned, known_sizes
from export.passes.exact import Array, NotFoldedError, exact
from export.passes.folding_pass import FoldingPass
from export.passes.values import is_constant
from export.passes.walks import fold_above, fold_below


class FoldScales(FoldingPass):
    """Remove Mul and Div by a constant.

    1. What makes x makes x·f instead: a product with a weight, a norm, another constant factor; past constants that are
       added, past what only moves numbers, and past the rest of a packed product, which is multiplied by 1. Scores
       q·k take a factor of whole matrices into q, or else into k.
    2. Or else everything that reads x·f is a product with a weight, which reads x instead.
    3. Or else a factor of scores moves to q, where q has fewer numbers than the scores.
    4. Declined, with the reason logged and kept in `declined`, where anything else reads what would change, where a
       weight has several readers, where a constant would grow or not be finite, and where a size is not known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fold what can be folded."""
        modified = False
        for node in list(model.graph):
            position = _constant_of(node)
            if position is None:
                continue
            try:
                _fold(model, node, position)
                modified = True
            except NotFoldedError as reason:
                if _move_to_smaller(model, node, position):
                    modified = True
                else:
                    self.decline(node, reason)
        return ir.passes.PassResult(model, modified)


def _constant_of(node: ir.Node) -> int | None:
    """Return the position of the constant in a Mul or Div of x by a float32 constant."""
    if node.domain != "" or node.op_type not in ("Mul", "Div"):
        return None
    places = [position for position, value in enumerate(node.inputs) if is_constant(value)]
    if len(places) != 1 or (node.op_type == "Div" and places[0] == 0):
        return None
    constant = node.inputs[places[0]]
    return places[0] if constant is not None and constant.dtype == ir.DataType.FLOAT else None


def _factor(node: ir.Node, position: int) -> tuple[ir.Value, Array]:
    """Return x, and what it is multiplied by, with as many axes."""
    value, constant = node.inputs[1 - position], node.inputs[position]
    assert value is not None, "the operator has two inputs"
    assert constant is not None, "the operator has two inputs"
    factor = aligned(exact(constant), value)
    if node.op_type == "Div":
        if not factor.all():
            raise NotFoldedError("it is divided by zero")
        factor = 1 / factor
    if not np.isfinite(factor).all():
        raise NotFoldedError("the factor is not finite")
    return value, factor


def _fold(model: ir.Model, node: ir.Node, position: int) -> None:
    value, factor = _factor(node, position)
    if node.outputs[0].is_graph_output():
        raise NotFoldedError("it yields an output of the graph")
    try:
        steps = fold_above(model, value, factor, node)
    except NotFoldedError as above:
        try:
            steps = fold_below(model, node.outputs[0], Affine(factor, np.zeros((1,) * factor.ndim)))
        except NotFoldedError as below:
            raise NotFoldedError(f"above, {above}; below, {below}") from below
    for step in steps:
        step()
    node.outputs[0].replace_all_uses_with(value)
    model.graph.remove(node, safe=True)


def _move_to_smaller(model: ir.Model, node: ir.Node, position: int) -> bool:
    """Multiply q in place of scores q·k by a factor of whole matrices, if q is smaller; return whether it is."""
    value, constant = node.inputs[1 - position], node.inputs[position]
    product = None if value is None else value.producer()
    if value is None or product is None or product.op_type != "MatMul" or node.outputs[0].is_graph_output():
        return False
    query = product.inputs[0]
    try:
        _, factor = _factor(node, position)
        sizes, before = known_sizes(value), known_sizes(query)
    except NotFoldedError:
        return False
    if len(value.uses()) > 1 or len(before) != len(sizes) or is_constant(query):
        return False
    if before[:-2] != sizes[:-2] or before[-1] >= sizes[-1] or any(size > 1 for size in factor.shape[-2:]):
        return False
    inputs = [query, constant] if position == 1 else [constant, query]
    scaled = ir.node(node.op_type, inputs, metadata_props=dict(node.metadata_props))
    model.graph.insert_before(product, scaled)
    assert query is not None, "MatMul has two inputs"
    scaled.outputs[0].shape, scaled.outputs[0].type = query.shape, query.type
    product.replace_input_with(0, scaled.outputs[0])
    node.outputs[0].replace_all_uses_with(value)
    model.graph.remove(node, safe=True)
    return True
