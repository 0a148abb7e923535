"""Origins of the values of a graph: constants, sizes or data.

A value is a constant (computed from initialisers only), a size (computed from shapes and initialisers), or data
(depends on the elements of the graph's inputs). A node with subgraphs (If, Loop, Scan) also reads the values that its
subgraphs read.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum

import onnx_ir as ir

STANDARD = frozenset({"", "ai.onnx"})
SIZES = frozenset({"Shape", "Size"})
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
# Folding a DequantizeLinear would store float weights instead of integers.
_NOT_FOLDED = frozenset({"Constant", "DequantizeLinear"})


class Origin(IntEnum):
    """Origin of a value; the outputs of a node have the greatest origin of its inputs."""

    CONSTANT = 0
    SIZE = 1
    DATA = 2


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of a model's graph, subgraphs and functions."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def trace_origins(model: ir.Model) -> dict[ir.Value, Origin]:
    """Return the origin of every value; nodes must be in topological order, as ONNX requires."""
    origins: dict[ir.Value, Origin] = {}
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _trace(graph, Origin.DATA, origins)
    return origins


def origin_of(node: ir.Node, origins: Mapping[ir.Value, Origin]) -> Origin:
    """Return the origin of a node's outputs."""
    return max((origins[output] for output in node.outputs), default=Origin.DATA)


def is_constant_only(node: ir.Node, origins: Mapping[ir.Value, Origin]) -> bool:
    """Return whether a node depends on constants only. Constant and DequantizeLinear nodes are excluded."""
    excluded = node.domain in STANDARD and node.op_type in _NOT_FOLDED
    return not excluded and origin_of(node, origins) is Origin.CONSTANT


def reads_stored(node: ir.Node) -> bool:
    """Return whether all inputs of a node are initialisers; its outputs are then constant unless it is random."""
    return all(value is None or value.is_initializer() for value in node.inputs)


def count_constant_only(model: ir.Model) -> int:
    """Return the number of nodes that could be computed before the model runs; see `is_constant_only`."""
    origins = trace_origins(model)
    return sum(is_constant_only(node, origins) for node in all_nodes(model))


def _trace(graph: ir.Graph, inputs: Origin, origins: dict[ir.Value, Origin]) -> None:
    origins.update(dict.fromkeys(graph.inputs, inputs))
    origins.update(dict.fromkeys(graph.initializers.values(), Origin.CONSTANT))
    for node in graph:
        origin = _origin(node, origins)
        origins.update(dict.fromkeys(node.outputs, origin))
        for body in subgraphs(node):
            _trace(body, origin, origins)


def _origin(node: ir.Node, origins: dict[ir.Value, Origin]) -> Origin:
    read = [value for value in node.inputs if value is not None]
    random = is_random(node)
    for body in subgraphs(node):
        random = random or any(map(is_random, body.all_nodes()))
        inside = [*body.outputs, *(value for inner in body.all_nodes() for value in inner.inputs)]
        read += [value for value in inside if value in origins]  # captured values; those of the body are not traced yet
    if random:
        return Origin.DATA
    origin = max((origins.get(value, Origin.DATA) for value in read), default=Origin.CONSTANT)
    if node.domain in STANDARD and node.op_type in SIZES:
        return min(origin, Origin.SIZE)
    return origin


def is_random(node: ir.Node) -> bool:
    """Return whether a node is a random operator."""
    return node.domain in STANDARD and node.op_type in RANDOM


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the subgraphs of a node."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
