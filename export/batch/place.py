"""A number in a graph that stands for the batch, and the node that reads it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, array_of, name_of


@dataclass(frozen=True)
class Place:
    """An input of a node, in a graph that was traced with a distinctive batch.

    Attributes:
        model: the graph.
        node: one of its nodes.
        position: of a constant among the node's inputs.
        images: the batch it was traced with; no other size in it is a multiple of that.
    """

    model: ir.Model
    node: ir.Node
    position: int
    images: int

    @property
    def value(self) -> ir.Value:
        """The constant."""
        value = self.node.inputs[self.position]
        assert value is not None
        return value

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The constant's numbers."""
        return array_of(self.value)

    def is_batch(self, size: int) -> bool:
        """Whether a size is a multiple of the batch."""
        return size > 0 and size % self.images == 0

    def put(self, numbers: list[int]) -> None:
        """Let the node read other integers."""
        array = np.asarray(numbers, dtype=np.int64)
        self.node.replace_input_with(self.position, add_constant(self.model, array, name_of(self.value)))
