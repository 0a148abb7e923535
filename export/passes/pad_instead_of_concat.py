"""Extra tokens without an expansion to the batch.

A class token that is repeated for every image of the batch and put before the patches would need the batch's size. So
the patches are padded by zeros, and one constant that holds the token is added.
"""

from typing import Any

import numpy as np
import onnx_ir as ir

from export.passes.unbroadcast import is_uniform
from export.passes.values import add_constant, array_of, is_constant, name_of, sizes_of


class PadInsteadOfConcat(ir.passes.InPlacePass):
    """Replace Concat with constants by Pad, Concat of the rest, and Add.

    1. The axis is not the first; every constant says the same for every image, that is along the first axis.
    2. Declined if all of it depends on the image, the numbers are no floats, or a size is not known.
    3. Zeros are exact: what is added to them, or they to it, stays as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace them."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "Concat" and _is_repeated(node):
                _replace(model, node)
                modified = True
        return ir.passes.PassResult(model, modified)


def _is_repeated(node: ir.Node) -> bool:
    constants = [value for value in node.inputs if value is not None and is_constant(value)]
    axis, sizes = node.attributes.get_int("axis"), sizes_of(node.outputs[0])
    if sizes is None or any(sizes_of(value) is None for value in node.inputs):
        return False
    if not constants or len(constants) == len(node.inputs) or axis % len(sizes) == 0:
        return False
    arrays = [array_of(value) for value in constants]
    return all(array.dtype.kind == "f" and is_uniform(array, 0) for array in arrays)


def _replace(model: ir.Model, node: ir.Node) -> None:
    sizes = sizes_of(node.outputs[0])
    assert sizes is not None
    axis = node.attributes.get_int("axis") % len(sizes)
    first = next(value for value in node.inputs if value is not None and is_constant(value))
    padded, added = _pieces(model, node, axis)
    joined = padded[0]
    if len(padded) > 1:
        concat = ir.node("Concat", padded, {"axis": axis})
        model.graph.insert_before(node, concat)
        joined = concat.outputs[0]
    constant = add_constant(model, np.concatenate(added, axis=axis), name_of(first))
    add = ir.node("Add", [joined, constant], metadata_props=dict(node.metadata_props))
    model.graph.insert_before(node, add)
    _take_over(node.outputs[0], add.outputs[0])
    joined.shape, joined.type = ir.Shape(sizes), node.outputs[0].type
    model.graph.remove(node, safe=True)


def _pieces(model: ir.Model, node: ir.Node, axis: int) -> tuple[list[ir.Value], list[np.ndarray[Any, Any]]]:
    """Return what depends on the image, padded to where the constants stood, and what is to be added all along."""
    values = [value for value in node.inputs if value is not None]
    lengths = [(sizes_of(value) or ())[axis] for value in values]
    dtype = next(array_of(value).dtype for value in values if is_constant(value))
    last = max(index for index, value in enumerate(values) if not is_constant(value))
    padded: list[ir.Value] = []
    added: list[np.ndarray[Any, Any]] = []
    before = 0
    for index, value in enumerate(values):
        if is_constant(value):
            added.append(array_of(value)[:1])
            before += lengths[index]
        else:
            shape = [1, *(sizes_of(value) or ())[1:]]
            added.append(np.zeros(shape, dtype))
            padded.append(_pad(model, node, value, axis, before, sum(lengths[last + 1 :]) if index == last else 0))
            before = 0
    return padded, added


def _pad(model: ir.Model, node: ir.Node, value: ir.Value, axis: int, before: int, after: int) -> ir.Value:
    if not before and not after:
        return value
    rank = len(sizes_of(value) or ())
    pads = np.zeros(2 * rank, dtype=np.int64)
    pads[axis], pads[rank + axis] = before, after
    pad = ir.node("Pad", [value, add_constant(model, pads, f"{name_of(node.outputs[0])}.pads")])
    model.graph.insert_before(node, pad)
    return pad.outputs[0]


def _take_over(old: ir.Value, new: ir.Value) -> None:
    new.shape, new.type = old.shape, old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = None, old.name  # an output of the graph is called by it
