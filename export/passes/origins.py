"""Origins of the values of a graph: the inputs, sizes, or stored numbers alone.

A value is constant (computed from stored numbers only), a size (computed from the sizes of tensors, and numbers), or
data (depends on what is in the graph's inputs). Subgraphs count: what an If, Loop or Scan reads inside its bodies, it
reads.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum

import onnx_ir as ir

STANDARD = frozenset({"", "ai.onnx"})
SIZES = frozenset({"Shape", "Size"})
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
# A Constant is a literal. DequantizeLinear of stored integers is how weights are kept small: folded, they would be
# floats again.
_MEANT = frozenset({"Constant", "DequantizeLinear"})


class Origin(IntEnum):
    """Origin of a value; of several inputs the greatest counts."""

    CONSTANT = 0
    SIZE = 1
    DATA = 2


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of a model's graph, its subgraphs and its functions."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def trace_origins(model: ir.Model) -> dict[ir.Value, Origin]:
    """Return the origin of every value; nodes stand in topological order, as ONNX asks."""
    origins: dict[ir.Value, Origin] = {}
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        _trace(graph, Origin.DATA, origins)
    return origins


def origin_of(node: ir.Node, origins: Mapping[ir.Value, Origin]) -> Origin:
    """Return what a node's outputs are computed from."""
    return max((origins[output] for output in node.outputs), default=Origin.DATA)


def is_constant_only(node: ir.Node, origins: Mapping[ir.Value, Origin]) -> bool:
    """Return whether a node computes the same for every image; a constant and the scaling of one do not count."""
    meant = node.domain in STANDARD and node.op_type in _MEANT
    return not meant and origin_of(node, origins) is Origin.CONSTANT


def reads_stored(node: ir.Node) -> bool:
    """Return whether all that a node reads is stored. Its results are constant then, unless it is random."""
    return all(value is None or value.is_initializer() for value in node.inputs)


def count_constant_only(model: ir.Model) -> int:
    """Return how many nodes of a model could be computed before it runs; see `is_constant_only`."""
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
        read += [value for value in inside if value in origins]  # captured: those of the body are not there yet
    if random:
        return Origin.DATA
    origin = max((origins.get(value, Origin.DATA) for value in read), default=Origin.CONSTANT)
    if node.domain in STANDARD and node.op_type in SIZES:
        return min(origin, Origin.SIZE)
    return origin


def is_random(node: ir.Node) -> bool:
    """Return whether a node yields different numbers in each run."""
    return node.domain in STANDARD and node.op_type in RANDOM


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the bodies that a node holds."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
