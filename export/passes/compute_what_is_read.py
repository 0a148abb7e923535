"""Dead rows are not computed: a class token's classifier reads one row of the last block.

Norms, products, activations and sums of the other tokens' rows would be discarded; keys and values are all needed.
"""

import onnx_ir as ir

from export.passes.cut_constants import name_as_before
from export.passes.narrowing import narrow, parts_read
from export.passes.parts import Needed, Part, needed
from export.passes.values import sizes_of


class ComputeWhatIsRead(ir.passes.InPlacePass):
    """Move a Slice or a Gather by constants, of at most half of an axis, up through what works row by row.

    1. A node makes the smallest part that holds all that its readers read. They then read within it.
    2. A constant that it joins is cut to that part, and keeps its name if nothing reads the rest.
    3. A node is left whole if one reader needs all of it, if it yields an output of the graph, if `export.passes.parts`
       has no rule for it, or if a size is not known. So this runs while the batch is still a number.
    4. No axis gets a size that could be taken for the batch.

    Args:
        batch: the distinctive batch that the graph was traced with; None if the graph keeps its batch.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Narrow in one sweep from the end: when a node's turn comes, what reads a part of it stands behind it."""
        modified = False
        for node in reversed(list(model.graph)):
            while node.graph is not None and (want := self._want(node)) is not None:
                narrow(model, node, want)
                modified = True
        name_as_before(model)
        return ir.passes.PassResult(model, modified)

    def _want(self, node: ir.Node) -> Needed | None:
        """Return what a node needs to make the part that is read of it, if there is such a part."""
        by_output = [parts_read(output) for output in node.outputs if output.uses() or output.is_graph_output()]
        for axis in sorted(set.intersection(*map(set, by_output))) if by_output else ():
            start, stop = min(parts[axis].start for parts in by_output), max(parts[axis].stop for parts in by_output)
            want = needed(node, Part(axis, start, stop))
            if want is not None and self._may_be(node, want):
                return want
        return None

    def _may_be(self, node: ir.Node, want: Needed) -> bool:
        """Return whether less is computed than before, in sizes other than the batch's, and no Slice passes a Slice."""
        sizes = sizes_of(node.outputs[0])
        lengths = [part.length for part in (want.made, *want.inputs.values())]
        if sizes is None or want.made.length == sizes[want.made.axis]:
            return False
        if self.batch is not None and any(length % self.batch == 0 for length in lengths):
            return False
        return node.op_type != "Slice" and (node.op_type != "Gather" or 0 not in want.inputs)
