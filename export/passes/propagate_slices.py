"""Removal of dead rows: a classifier on the class token reads one row of the last block.

Norms, products, activations and sums of the other rows are dead; keys and values are needed for all rows.
"""

import onnx_ir as ir

from export.passes.narrowing import narrow, parts_read
from export.passes.parts import Needed, Part, needed
from export.passes.sweep import GraphPass
from export.passes.values import sizes_of


class PropagateSlices(GraphPass):
    """Move a Slice, or a Gather with constant indices, of at most half an axis up through row-wise operators.

    1. A node computes the smallest part of its result that contains everything that is read.
    2. A constant operand of the node is cut to that part.
    3. A node stays unchanged if one reader needs its whole result, if it produces a graph output, if
       `export.passes.parts` has no rule for it, or if its shapes are not static. The pass therefore runs before the
       batch becomes dynamic.
    4. No axis gets a multiple of the batch size as its size.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Narrow the nodes in reverse graph order, so that the readers of a node are narrowed before the node."""
        modified = False
        for node in reversed(list(model.graph)):
            while node.graph is not None and (want := self._want(node)) is not None:
                narrow(model, node, want)
                modified = True
        return ir.passes.PassResult(model, modified)

    def _want(self, node: ir.Node) -> Needed | None:
        """Return the inputs that a node needs for the part of its result that is read; None if all of it is."""
        by_output = [parts_read(output) for output in node.outputs if output.uses() or output.is_graph_output()]
        for axis in sorted(set.intersection(*map(set, by_output))) if by_output else ():
            start, stop = min(parts[axis].start for parts in by_output), max(parts[axis].stop for parts in by_output)
            want = needed(node, Part(axis, start, stop))
            if want is not None and self._may_be(node, want):
                return want
        return None

    def _may_be(self, node: ir.Node, want: Needed) -> bool:
        """Return whether less is computed, no size is a multiple of the batch size, and no Slice moves past another."""
        sizes = sizes_of(node.outputs[0])
        lengths = [part.length for part in (want.made, *want.inputs.values())]
        if sizes is None or want.made.length == sizes[want.made.axis]:
            return False
        if self.batch is not None and any(length % self.batch == 0 for length in lengths):
            return False
        return node.op_type != "Slice" and (node.op_type != "Gather" or 0 not in want.inputs)
