"""A model as the checks see it: all its nodes, the types that can be inferred, and where every value comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from export.auditing.origins import Origin, trace_origins
from export.auditing.support import Support


@dataclass(frozen=True)
class Subject:
    """One model under audit.

    Attributes:
        model: with the types and shapes that could be inferred.
        nodes: of the graph, its subgraphs and its functions.
        origins: of every value of theirs.
        tensorrt: the version asked for, `major.minor`.
        support: the support table.
    """

    model: ir.Model
    nodes: tuple[ir.Node, ...]
    origins: dict[ir.Value, Origin]
    tensorrt: str
    support: Support

    def origin(self, node: ir.Node) -> Origin:
        """Return what a node's outputs are computed from."""
        return max((self.origins[output] for output in node.outputs), default=Origin.DATA)

    def initializers(self) -> Iterator[ir.Value]:
        """Yield the stored tensors of the graph and its subgraphs."""
        for graph in self.model.graphs():
            yield from graph.initializers.values()

    def calls_function(self, node: ir.Node) -> bool:
        """Whether a node is a call of a function that the model itself holds."""
        return node.op_identifier() in self.model.functions


def make_subject(model: ir.Model, tensorrt: str, support: Support, *, in_place: bool = False) -> Subject:
    """Look at a model once, for all checks; if `in_place`, types that can be inferred are written into the model."""
    typed = _with_types(model, in_place=in_place)
    origins: dict[ir.Value, Origin] = {}
    trace_origins(typed.graph, Origin.DATA, origins)
    for function in typed.functions.values():
        trace_origins(function.graph, Origin.DATA, origins)
    nodes = (*typed.graph.all_nodes(), *(node for body in typed.functions.values() for node in body.all_nodes()))
    return Subject(typed, nodes, origins, tensorrt, support)


def _with_types(model: ir.Model, *, in_place: bool) -> ir.Model:
    """Return the model if the exporter wrote every type into it, else one with ONNX's inferred ones."""
    if all(output.dtype is not None for node in model.graph.all_nodes() for output in node.outputs):
        return model
    copy = model if in_place else model.clone()
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(copy)
    return copy
