"""Conversion of plans to nodes: common steps become one node, and Slices that partition an axis one Split."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from export.passes.movement.steps import Gather, Plan, Reshape, Slice, Step, Transpose, shape_after, splits_of
from export.passes.movement.tables import Integers
from export.passes.values import add_constant, add_node, name_of, shape_of


class Emitter:
    """Writer of the nodes of plans into a graph.

    Args:
        model: the graph; its shapes are static.
        mark: metadata key that is set on the results; None for none.
    """

    def __init__(self, model: ir.Model, mark: str | None = None) -> None:
        self.model, self.mark = model, mark
        self._made: dict[tuple[ir.Value, Plan], ir.Value] = {}
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], ir.Value] = {}
        self._splits: dict[tuple[ir.Value, Plan], tuple[Slice, ...]] = {}

    def announce(self, source: ir.Value, plans: Iterable[Plan]) -> None:
        """Register all plans for a source before the first is emitted, so that Slices can become a Split."""
        for prefix, parts in splits_of(plans, shape_of(source)).items():
            self._splits[source, prefix] = parts

    def emit(self, source: ir.Value, plan: Plan, before: ir.Node) -> ir.Value:
        """Return the result of a plan; nodes that do not exist yet are inserted before `before`."""
        if not plan:
            return source
        if (source, plan) not in self._made:
            read = self.emit(source, plan[:-1], before)
            parts = self._splits.get((source, plan[:-1]))
            if parts is not None and plan[-1] in parts:
                self._split(source, plan[:-1], read, parts, before)
            else:
                self._made[source, plan] = self._node(read, plan[-1], before)
            if self.mark is not None:
                self._made[source, plan].meta[self.mark] = True
        return self._made[source, plan]

    def _split(self, source: ir.Value, prefix: Plan, read: ir.Value, parts: Sequence[Slice], before: ir.Node) -> None:
        sizes = [part.stops[0] - part.starts[0] for part in parts]
        inputs, noted = [read, self._constant(read, "split", sizes)], dict(before.metadata_props)
        split = ir.node("Split", inputs, {"axis": parts[0].axes[0]}, num_outputs=len(parts), metadata_props=noted)
        self.model.graph.insert_before(before, split)
        for part, output in zip(parts, split.outputs, strict=True):
            output.shape, output.type = ir.Shape(shape_after(part, shape_of(read))), read.type
            self._made[source, (*prefix, part)] = output

    def _node(self, read: ir.Value, step: Step, before: ir.Node) -> ir.Value:
        attributes: Mapping[str, int | Sequence[int]] = {}
        match step:
            case Reshape():
                operator, inputs = "Reshape", [read, self._constant(read, "shape", step.shape)]
            case Transpose():
                operator, inputs, attributes = "Transpose", [read], {"perm": step.order}
            case Slice():
                bounds = (("starts", step.starts), ("ends", step.stops), ("axes", step.axes))
                operator, inputs = "Slice", [read, *(self._constant(read, *bound) for bound in bounds)]
            case Gather():
                index = self._constant(read, "order", step.indices)
                operator, inputs, attributes = "Gather", [read, index], {"axis": step.axis}
        return add_node(before, operator, inputs, shape_after(step, shape_of(read)), attributes)

    def _constant(self, read: ir.Value, what: str, numbers: Sequence[int] | Integers) -> ir.Value:
        array = np.asarray(numbers, np.int64)
        key = (what, array.tobytes(), array.shape)
        if what != "order" or key not in self._constants:  # shapes are not shared: dynamic_batch rewrites them
            self._constants[key] = add_constant(self.model, array, f"{name_of(read)}.{what}")
        return self._constants[key]
