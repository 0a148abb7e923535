"""One transposition where windows are folded into heads and the keys transposed after it."""

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, array_of, is_constant, name_of


class MergeTransposes(ir.passes.InPlacePass):
    """Take Transpose → Reshape → Transpose together.

    1. The second Transpose changes places of the last two axes alone, and the Reshape leaves these two as they are: so
       the first can do it.
    2. Kept apart where anything else reads what lies between.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Merge them."""
        modified = False
        for node in list(model.graph):
            reshape = node.inputs[0].producer() if node.op_type == "Transpose" and node.inputs[0] else None
            first = reshape.inputs[0].producer() if reshape is not None and reshape.inputs[0] else None
            if reshape is not None and first is not None and _can_be_merged(first, reshape, node):
                _merge(model, first, reshape, node)
                modified = True
        return ir.passes.PassResult(model, modified)


def _can_be_merged(first: ir.Node, reshape: ir.Node, last: ir.Node) -> bool:
    if (first.op_type, reshape.op_type) != ("Transpose", "Reshape") or last.outputs[0].is_graph_output():
        return False
    shape, before = reshape.inputs[1], first.outputs[0].shape
    order = list(last.attributes.get_ints("perm", ()))
    if before is None or shape is None or not is_constant(shape) or len(first.outputs[0].uses()) > 1:
        return False
    swapped = [*range(len(order) - 2), len(order) - 1, len(order) - 2]
    kept = list(before)[-2:] == array_of(shape).tolist()[-2:]
    return order == swapped and kept and len(reshape.outputs[0].uses()) == 1


def _merge(model: ir.Model, first: ir.Node, reshape: ir.Node, last: ir.Node) -> None:
    order = list(first.attributes.get_ints("perm"))
    shape = reshape.inputs[1]
    assert shape is not None
    sizes = array_of(shape).tolist()
    between, merged = first.outputs[0], reshape.outputs[0]
    first.attributes.add(ir.AttrInt64s("perm", [*order[:-2], order[-1], order[-2]]))
    reshape.replace_input_with(1, add_constant(model, np.asarray([*sizes[:-2], sizes[-1], sizes[-2]]), name_of(shape)))
    assert between.shape is not None
    between.shape = ir.Shape([*between.shape[:-2], between.shape[-1], between.shape[-2]])
    merged.shape = last.outputs[0].shape
    last.outputs[0].replace_all_uses_with(merged)
    model.graph.remove(last, safe=True)
