"""Base classes of passes that visit the nodes of a graph in order."""

import logging
from abc import abstractmethod
from typing import NamedTuple

import onnx_ir as ir

from export.passes.exact import NotFoldedError
from export.passes.values import scope_of

logger = logging.getLogger(__name__)


class GraphPass(ir.passes.InPlacePass):
    """A pass on a graph with static shapes.

    Args:
        batch: the distinctive batch size that the graph was traced with; None if the graph keeps its batch size.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch


class Sweep(GraphPass):
    """A pass that rewrites node by node, in graph order."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visit each node once; nodes that a rewrite adds or removes are not visited."""
        modified = False
        for node in list(model.graph):
            if node.graph is not None and self.rewrite(model, node):
                modified = True
        return ir.passes.PassResult(model, modified)

    @abstractmethod
    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Rewrite the pattern that begins or ends at a node, if the pass applies; return whether it did."""


class Declined(NamedTuple):
    """A node that was not folded.

    Attributes:
        operator: operator of the node.
        module: path of the node's module; "" if unknown.
        reason: reason why the node was not folded.
    """

    operator: str
    module: str
    reason: str


class FoldingPass(Sweep):
    """A pass that folds nodes, or declines them with a reason that is logged and kept.

    Attributes:
        declined: nodes that were not folded, in graph order.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(batch)
        self.declined: list[Declined] = []

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a node, or record why it was declined."""
        try:
            return self.fold(model, node)
        except NotFoldedError as reason:
            self.declined.append(Declined(node.op_type, scope_of(node), str(reason)))
            logger.info("not folded: %s %s: %s", node.op_type, node.name, reason)
            return False

    @abstractmethod
    def fold(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a node; return whether the pass applies to it.

        Raises:
            NotFoldedError: the pass applies, but the node cannot be folded.
        """
