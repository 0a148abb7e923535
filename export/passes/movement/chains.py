"""Chains of data movement: tensors that are made by moving data alone, with their source and index map."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.operators import map_through, moves, sources_of
from export.passes.values import scope_of, sizes_of


@dataclass(frozen=True)
class Origin:
    """Source of a tensor, and the map from the tensor to it."""

    source: ir.Value
    map: IndexMap
    nodes: tuple[ir.Node, ...]
    """The nodes between, in the order of the graph."""


@dataclass
class Chains:
    """All tensors that are made by moving data.

    Attributes:
        origins: origins by tensor; a tensor without an entry is its own source.
        declined: reasons, by node, for nodes that only move data but end a chain.
    """

    origins: dict[ir.Value, Origin] = field(default_factory=dict)
    declined: dict[ir.Node, str] = field(default_factory=dict)

    def of(self, value: ir.Value, batch: int | None) -> Origin:
        """Return the origin of a tensor."""
        return self.origins.get(value) or Origin(value, IndexMap.identity(sizes_of(value) or (), batch), ())

    def decline(self, node: ir.Node, reason: str) -> None:
        """End chains before a node."""
        self.declined[node] = f"{node.op_type} in {scope_of(node) or 'the network'}: {reason}"
        for output in node.outputs:
            self.origins.pop(output, None)


def find_chains(model: ir.Model, batch: int | None) -> Chains:
    """Follow data from node to node.

    Args:
        model: the graph; all its sizes are numbers, and nodes are in topological order.
        batch: the distinctive batch that the graph was traced with; None if the graph keeps its batch.
    """
    chains = Chains()
    for node in model.graph:
        if not moves(node):
            continue
        leaves = any(output.is_graph_output() for output in node.outputs)
        reason = "it yields an output of the graph" if leaves else None
        inputs = [chains.of(value, batch) for value in sources_of(node)]
        if len({origin.source for origin in inputs}) > 1:
            reason = reason or "its inputs come from several tensors"
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
    """Return, by source, the tensors of chains that a node outside any chain reads."""
    ends: dict[ir.Value, list[ir.Value]] = {}
    for value, origin in chains.origins.items():
        if any(_leaves(use.node, chains) for use in value.uses()):
            ends.setdefault(origin.source, []).append(value)
    return ends


def _leaves(node: ir.Node, chains: Chains) -> bool:
    return not any(output in chains.origins for output in node.outputs)


def nodes_before(origins: Iterable[Origin]) -> list[ir.Node]:
    """Return the nodes of several chains, each once."""
    return list(dict.fromkeys(node for origin in origins for node in origin.nodes))
