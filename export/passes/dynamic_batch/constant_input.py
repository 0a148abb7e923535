"""Constant inputs of nodes that may depend on the batch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.unbroadcast import is_uniform
from export.passes.values import Array, add_constant, add_node, array_of, name_of


class Repeated(NamedTuple):
    """A constant that is equal for all images.

    Attributes:
        axis: axis along which it is repeated for each image.
        one: the constant for one image.
    """

    axis: int
    one: Array


@dataclass(frozen=True)
class ConstantInput:
    """A constant input of a node, in a graph that was traced with a distinctive batch size.

    Attributes:
        model: the graph.
        node: the node.
        position: position of the constant among the node's inputs.
        images: the batch size of the trace; no other size in the graph is a multiple of it.
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
    def array(self) -> Array:
        """The constant as an array."""
        return array_of(self.value)

    def is_batch(self, size: int) -> bool:
        """Return whether a size is a multiple of the batch."""
        return size > 0 and size % self.images == 0

    def repeated(self) -> Repeated | None:
        """Return the constant for one image; None unless it is repeated for each image along one axis."""
        array = self.array
        axes = [axis for axis, size in enumerate(array.shape) if self.is_batch(size)]
        if len(axes) != 1:
            return None
        axis, shape = axes[0], array.shape
        parts = array.reshape(*shape[:axis], self.images, shape[axis] // self.images, *shape[axis + 1 :])
        return Repeated(axis, parts.take(0, axis=axis)) if is_uniform(parts, axis) else None

    def put(self, numbers: list[int]) -> None:
        """Replace the constant by integers."""
        self.node.replace_input_with(self.position, self.constant(np.asarray(numbers, dtype=np.int64)))

    def constant(self, array: Array) -> ir.Value:
        """Return a new constant that is named after this one."""
        return add_constant(self.model, array, name_of(self.value))

    def reshape(self, value: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """Insert a Reshape before this node; exactly one of the sizes is a multiple of the batch size and inferred."""
        assert sum(map(self.is_batch, sizes)) == 1, f"{sizes}: Reshape can infer only one size"
        numbers = np.asarray([-1 if self.is_batch(size) else size for size in sizes], dtype=np.int64)
        shape = add_constant(self.model, numbers, f"{name_of(self.node.outputs[0])}.shape")
        return add_node(self.node, "Reshape", [value, shape], sizes)

    def replace_with(self, value: ir.Value) -> None:
        """Replace the node's output by another value, and remove the node."""
        value.shape, value.type = self.node.outputs[0].shape, self.node.outputs[0].type
        self.node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
        self.model.graph.remove(self.node, safe=True)
