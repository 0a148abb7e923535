"""Removal of no-ops: operators that return their input unchanged.

torch.onnx exports expansions to the current shape, casts to the current dtype and slices of a whole axis. Newly
initialised networks have biases of 0 and scales of 1.
"""

from collections.abc import Callable

import onnx_ir as ir

from export.passes.sweep import Sweep
from export.passes.values import array_of, is_constant, remove, sizes_of


class RemoveNoOps(Sweep):
    """Remove no-ops.

    1. Cast, CastLike: the dtype stays the same.
    2. Expand, Reshape, Tile, and Slice with positive steps: the shape stays the same and is static.
    3. Pad by zero elements, Transpose to the same order, Concat of one input.
    4. Where: the condition is a uniform constant, and the selected branch has the shape of the result.
    5. Add and Sub of 0, Mul and Div by 1: the constant has at most one axis larger than 1, like biases and scales, and
       the other input has the shape of the result. A position table that is all 0 stays, because the report lists it.
    6. A node that produces a graph output stays.
    """

    def rewrite(self, _model: ir.Model, node: ir.Node) -> bool:
        """Remove a no-op."""
        source = _returned(node)
        if source is None or node.outputs[0].is_graph_output():
            return False
        remove(node, source)
        return True


def _returned(node: ir.Node) -> ir.Value | None:
    """Return the input that a node returns unchanged; None if the node is not a no-op."""
    if node.op_type == "Where":
        return _branch_taken(node)
    if node.op_type in _NEUTRAL:
        return _other_than_neutral(node)
    changes_nothing = _NO_OPS.get(node.op_type)
    return node.inputs[0] if changes_nothing is not None and changes_nothing(node) else None


def _branch_taken(node: ir.Node) -> ir.Value | None:
    condition = node.inputs[0]
    if condition is None or not is_constant(condition):
        return None
    chosen = array_of(condition)
    if chosen.all() == chosen.any():
        branch = node.inputs[1 if chosen.all() else 2]
        sizes = sizes_of(branch)
        return branch if sizes is not None and sizes == sizes_of(node.outputs[0]) else None
    return None


def _other_than_neutral(node: ir.Node) -> ir.Value | None:
    """Return the operand of an arithmetic operator whose other operand is the neutral element; None otherwise."""
    sizes = sizes_of(node.outputs[0])
    pairs = [(node.inputs[0], node.inputs[1])]
    if node.op_type in ("Add", "Mul"):
        pairs.append((node.inputs[1], node.inputs[0]))
    for value, constant in pairs:
        if constant is None or not is_constant(constant) or sizes is None or sizes_of(value) != sizes:
            continue
        if sum(size > 1 for size in array_of(constant).shape) > 1:
            continue
        if bool((array_of(constant) == _NEUTRAL[node.op_type]).all()):
            return value
    return None


def _keeps_type(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype


def _keeps_shape(node: ir.Node) -> bool:
    sizes = sizes_of(node.inputs[0])
    return sizes is not None and sizes == sizes_of(node.outputs[0])


def _keeps_all(node: ir.Node) -> bool:
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    forwards = steps is None or (is_constant(steps) and bool((array_of(steps) > 0).all()))
    return forwards and _keeps_shape(node)


def _pads_nothing(node: ir.Node) -> bool:
    pads = node.inputs[1]
    return pads is not None and is_constant(pads) and not array_of(pads).any()


def _keeps_order(node: ir.Node) -> bool:
    order = node.attributes.get_ints("perm", None)
    return order is not None and list(order) == sorted(order)


_NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
_NO_OPS: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _keeps_type,
    "CastLike": _keeps_type,
    "Concat": lambda node: len(node.inputs) == 1,
    "Expand": _keeps_shape,
    "Pad": _pads_nothing,
    "Reshape": _keeps_shape,
    "Slice": _keeps_all,
    "Tile": _keeps_shape,
    "Transpose": _keeps_order,
}
