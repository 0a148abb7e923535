"""Prefix tokens without expansion to the batch size.

A class token that is expanded to the batch size and concatenated with the patch tokens makes the graph depend on the
batch size. Instead, the patch tokens are padded with zeros, and one constant with the class token is added.
"""

import numpy as np
import onnx_ir as ir

from export.passes.operators import axis_of
from export.passes.sweep import Sweep
from export.passes.unbroadcast import is_uniform
from export.passes.values import (
    Array,
    add_constant,
    add_node,
    array_of,
    is_constant,
    name_of,
    shape_of,
    sizes_of,
)


class PadInsteadOfConcat(Sweep):
    """Replace a Concat that has constant inputs by Pad, Concat of the other inputs, and Add.

    1. The axis is not the first, and every constant is uniform along the first axis, that is, equal for all images.
    2. The node stays if all inputs depend on the image, the dtype is not floating point, or shapes are not static.
    3. The result is exact, because adding zero does not change a value.
    """

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Replace a Concat."""
        if node.op_type != "Concat" or not _is_repeated(node):
            return False
        _replace(model, node)
        return True


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
    sizes, result = shape_of(node.outputs[0]), node.outputs[0]
    axis = axis_of(node, len(sizes))
    first = next(value for value in node.inputs if value is not None and is_constant(value))
    padded, added = _pieces(model, node, axis)
    joined = add_node(node, "Concat", padded, sizes, {"axis": axis}) if len(padded) > 1 else padded[0]
    constant = add_constant(model, np.concatenate(added, axis=axis), name_of(first))
    added_to = add_node(node, "Add", [joined, constant], sizes)
    result.replace_all_uses_with(added_to, replace_graph_outputs=True)
    result.name, added_to.name = None, result.name  # a graph output must keep its name
    model.graph.remove(node, safe=True)


def _pieces(model: ir.Model, node: ir.Node, axis: int) -> tuple[list[ir.Value], list[Array]]:
    """Return the inputs that depend on the image, padded to cover the constants, and the constant to add."""
    values = [value for value in node.inputs if value is not None]
    lengths = [shape_of(value)[axis] for value in values]
    dtype = next(array_of(value).dtype for value in values if is_constant(value))
    last = max(index for index, value in enumerate(values) if not is_constant(value))
    padded: list[ir.Value] = []
    added: list[Array] = []
    before = 0
    for index, value in enumerate(values):
        if is_constant(value):
            added.append(array_of(value)[:1])
            before += lengths[index]
        else:
            added.append(np.zeros([1, *shape_of(value)[1:]], dtype))
            padded.append(_pad(model, node, value, axis, (before, sum(lengths[last + 1 :]) if index == last else 0)))
            before = 0
    return padded, added


def _pad(model: ir.Model, node: ir.Node, value: ir.Value, axis: int, around: tuple[int, int]) -> ir.Value:
    """Pad a value with zeros along an axis, before and after its elements."""
    if not any(around):
        return value
    sizes = list(shape_of(value))
    pads = np.zeros((2, len(sizes)), dtype=np.int64)
    pads[:, axis] = around
    sizes[axis] += sum(around)
    given = add_constant(model, pads.reshape(-1), f"{name_of(node.outputs[0])}.pads")
    return add_node(node, "Pad", [value, given], sizes)
