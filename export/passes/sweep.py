"""Base classes of passes that visit one node after another."""

import logging
from abc import abstractmethod
from typing import NamedTuple

import onnx_ir as ir

from export.passes.exact import NotFoldedError
from export.passes.values import scope_of

logger = logging.getLogger(__name__)


class GraphPass(ir.passes.InPlacePass):
    """A pass on a graph whose sizes are all numbers.

    Args:
        batch: the distinctive batch that the graph was traced with; None if the graph keeps its batch.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch


class Sweep(GraphPass):
    """A pass that rewrites node by node, from first to last."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in one sweep; nodes that a rewrite adds or removes are not visited."""
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
        module: path of the module that the node came from; "" if unknown.
        reason: why it was not folded.
    """

    operator: str
    module: str
    reason: str


class FoldingPass(Sweep):
    """A pass that folds a node, or declines it with a reason that is logged and kept.

    Attributes:
        declined: the nodes that were not folded, in the order of the graph.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(batch)
        self.declined: list[Declined] = []

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Fold a node, or record the reason for declining it."""
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
