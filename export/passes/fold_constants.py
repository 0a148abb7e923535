"""Evaluation of nodes whose inputs are all constant.

torch's exporter folds constants too, but only up to 8,192 input and 262,144 output elements, and without their names.
"""

from collections.abc import Container

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from export.passes.exact import NotFoldedError
from export.passes.origins import is_random, reads_stored, subgraphs
from export.passes.sweep import FoldingPass
from export.passes.values import add_constant, array_of, name_of


class FoldConstants(FoldingPass):
    """Replace constant-only nodes by initialisers.

    1. A node whose inputs are all initialisers is evaluated with ONNX's reference implementation.
    2. If exactly one input is neither a shape nor an index, and no other node reads it, the result gets its name,
       otherwise that of the node's output.
    3. Declined, with the reason logged and kept in `declined`: random nodes, nodes with a subgraph, and nodes that
       produce a graph output.

    Args:
        operators: operators to evaluate; None evaluates all.
    """

    def __init__(self, operators: Container[str] | None = None) -> None:
        super().__init__()
        self.operators = operators

    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a node; its inputs are already folded, because nodes are visited in topological order."""
        if not reads_stored(node) or (self.operators is not None and node.op_type not in self.operators):
            return False
        reason = reason_to_keep(node)
        if reason is not None:
            raise NotFoldedError(reason)
        fold(model, node)
        return True


def reason_to_keep(node: ir.Node) -> str | None:
    """Return the reason why a node cannot be replaced by initialisers; None if it can."""
    if not reads_stored(node):
        return "depends on a graph input"
    if is_random(node):
        return "random operator"
    if any(subgraphs(node)):
        return "contains a subgraph"
    if any(output.is_graph_output() for output in node.outputs):
        return "a graph output that does not depend on the image"
    return None


def fold(model: ir.Model, node: ir.Node) -> None:
    """Replace a constant-only node by initialisers."""
    evaluator = ReferenceEvaluator(ir.to_proto(node), opsets=dict(model.opset_imports))
    constants = [value for value in node.inputs if value is not None]
    results = evaluator.run(None, {name_of(value): array_of(value) for value in constants})
    source = _named_source(constants) if len(node.outputs) == 1 else None
    for output, result in zip(node.outputs, results, strict=True):
        if source is not None:
            model.graph.initializers.pop(name_of(source))
        output.replace_all_uses_with(add_constant(model, np.asarray(result), name_of(source or output)))
    model.graph.remove(node, safe=True)


def _named_source(constants: list[ir.Value]) -> ir.Value | None:
    """Return the only input that is not a shape or an index, if it has no other readers."""
    data = [value for value in constants if "." in name_of(value)]  # constants of a module are named after its path
    return data[0] if len(data) == 1 and len(data[0].uses()) == 1 else None


class LayOutConstants(ir.passes.InPlacePass):
    """Copy every initialiser that is not C-contiguous; the hashing pass that follows requires it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy the initialisers that are not C-contiguous."""
        modified = False
        for graph in model.graphs():
            for value in graph.initializers.values():
                assert value.const_value is not None, "an initialiser has a value"
                array = value.const_value.numpy()
                if not array.flags.c_contiguous:
                    value.const_value = ir.tensor(np.asarray(array, order="C"), name=value.name)
                    modified = True
        return ir.passes.PassResult(model, modified)
