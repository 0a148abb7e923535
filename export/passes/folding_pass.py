"""Common base of the passes that fold constants: the reasons for what they decline are logged and kept."""

import logging

import onnx_ir as ir

logger = logging.getLogger(__name__)


class FoldingPass(ir.passes.InPlacePass):
    """A pass that folds, or declines with a reason.

    Attributes:
        declined: operator, name and reason of each node that was not folded, in the order of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.declined: list[str] = []

    def decline(self, node: ir.Node, reason: object) -> None:
        """Log and keep the reason why a node was not folded."""
        self.declined.append(f"{node.op_type} {node.name}: {reason}")
        logger.info("not folded: %s", self.declined[-1])
