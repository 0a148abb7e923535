"""Chains of data-movement operators: the source of each tensor and the index map to that source."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.operators import map_through, moves, sources_of
from export.passes.values import scope_of, sizes_of


@dataclass(frozen=True)
class Origin:
    """Source of a tensor, and the index map from the tensor to the source."""

    source: ir.Value
    map: IndexMap
    nodes: tuple[ir.Node, ...]
    """Nodes between the source and the tensor, in graph order."""


@dataclass
class Chains:
    """Results of all data-movement operators of a graph.

    Attributes:
        origins: origins by tensor; a tensor without an entry is its own source.
        declined: data-movement nodes that end a chain, and the reason.
    """

    origins: dict[ir.Value, Origin] = field(default_factory=dict)
    declined: dict[ir.Node, str] = field(default_factory=dict)

    def of(self, value: ir.Value, batch: int | None) -> Origin:
        """Return the origin of a tensor."""
        return self.origins.get(value) or Origin(value, IndexMap.identity(sizes_of(value) or (), batch), ())

    def decline(self, node: ir.Node, reason: str) -> None:
        """End chains before a node, for a reason."""
        self.declined[node] = f"{node.op_type} in {scope_of(node) or 'the network'}: {reason}"
        for output in node.outputs:
            self.origins.pop(output, None)


def find_chains(model: ir.Model, batch: int | None) -> Chains:
    """Return the chains of a graph.

    Args:
        model: the graph; its shapes are static and its nodes in topological order.
        batch: the distinctive batch size that the graph was traced with; None if the graph keeps its batch size.
    """
    chains = Chains()
    for node in model.graph:
        if not moves(node):
            continue
        reason = "a graph output" if any(output.is_graph_output() for output in node.outputs) else None
        inputs = [chains.of(value, batch) for value in sources_of(node)]
        if len({origin.source for origin in inputs}) > 1:
            reason = reason or "the inputs come from several tensors"
        if reason is None:
            try:
                maps = map_through(node, [origin.map for origin in inputs])
            except DeclinedError as error:
                reason = str(error)
            else:
                nodes = tuple(dict.fromkeys((*(n for origin in inputs for n in origin.nodes), node)))
                for output, one in zip(node.outputs, maps, strict=True):
                    chains.origins[output] = Origin(inputs[0].source, one, nodes)
        if reason is not None:
            chains.decline(node, reason)
    return chains


def ends_of(chains: Chains) -> dict[ir.Value, list[ir.Value]]:
    """Return, by source, the last tensors of chains: those that a node outside any chain reads."""
    ends: dict[ir.Value, list[ir.Value]] = {}
    for value, origin in chains.origins.items():
        if not all(any(output in chains.origins for output in node.outputs) for node in value.consumers()):
            ends.setdefault(origin.source, []).append(value)
    return ends


def nodes_of(origins: Iterable[Origin]) -> list[ir.Node]:
    """Return the nodes of several chains without duplicates."""
    return list(dict.fromkeys(node for origin in origins for node in origin.nodes))
