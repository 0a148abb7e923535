"""Row-wise nodes: each row of the output depends only on the same row of the inputs.

A tensor [..., C] has rows of C elements. Element-wise operators, norms over C and products with a constant [C, D] are
equivariant to permutations of the rows.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from export.passes.operators import BROADCAST, ELEMENTWISE, NORMS, REDUCTIONS, axis_of, reduced_axes
from export.passes.values import (
    Array,
    array_of,
    derive_constant,
    input_of,
    is_constant,
    sizes_of,
)

_REPEATED = 4
"""Largest growth factor of a constant that is expanded to all rows of an image."""


@dataclass(frozen=True)
class RowWise:
    """Inputs that a node reads row by row.

    Attributes:
        data: positions of the inputs that depend on the image.
        constants: constants that differ between rows, as [T, 1 or C], by input position.
    """

    data: tuple[int, ...]
    constants: dict[int, Array]


def rows_of(value: ir.Value | None, images: int) -> int | None:
    """Return the number of rows per image of a tensor [images · …, …, C]; None if it has another shape."""
    sizes = sizes_of(value)
    if sizes is None or len(sizes) < 2 or 0 in sizes or sizes[0] % images:
        return None
    return prod(sizes[:-1]) // images


def row_wise(node: ir.Node, images: int) -> RowWise | None:
    """Return what a node reads row by row; None if it is not row-wise or produces a graph output."""
    output = node.outputs[0]
    rows = rows_of(output, images)
    if rows is None or rows == 1 or node.domain != "" or any(value.is_graph_output() for value in node.outputs):
        return None
    if len(node.outputs) > 1 and any(value.uses() for value in node.outputs[1:]):
        return None
    lead = (sizes_of(output) or ())[:-1]
    if node.op_type in ELEMENTWISE or node.op_type in NORMS or node.op_type in REDUCTIONS or _is_product(node):
        first = sizes_of(node.inputs[0])
        others = all(value is None or is_constant(value) for value in node.inputs[1:])
        fits = first is not None and first[:-1] == lead and others and _works_on_the_last_axis(node, len(first))
        return RowWise((0,), {}) if fits and not is_constant(node.inputs[0]) else None
    if node.op_type not in BROADCAST or node.op_type == "MatMul":
        return None
    data: list[int] = []
    constants: dict[int, Array] = {}
    for position, value in enumerate(node.inputs):
        sizes = sizes_of(value)
        if value is None or sizes is None:
            return None
        if not is_constant(value):
            if sizes[:-1] != lead:
                return None
            data.append(position)
        elif any(size > 1 for size in sizes[:-1]):
            by_row = _by_row(array_of(value), lead, images)
            if by_row is None:
                return None
            constants[position] = by_row
    return RowWise(tuple(data), constants) if data else None


def _is_product(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and is_constant(node.inputs[1]) and len(sizes_of(node.inputs[1]) or ()) == 2


def _works_on_the_last_axis(node: ir.Node, rank: int) -> bool:
    if node.op_type in NORMS:
        vectors = all(len(sizes_of(value) or ()) <= 1 for value in node.inputs[1:] if value is not None)
        return vectors and axis_of(node, rank, -1) == rank - 1
    if node.op_type in REDUCTIONS:
        return node.attributes.get_int("keepdims", 1) == 1 and reduced_axes(node, rank) == (rank - 1,)
    return True


def _by_row(array: Array, lead: tuple[int, ...], images: int) -> Array | None:
    """Return a constant as [T, 1 or C]; None if it differs between images, or would grow by more than the limit."""
    aligned = array.reshape([1] * (len(lead) + 1 - array.ndim) + list(array.shape))
    if aligned.ndim != len(lead) + 1 or aligned.shape[0] not in (1, lead[0]):
        return None
    count, channels = prod(lead) // images, aligned.shape[-1]
    if aligned.shape[0] == lead[0] != 1 and images > 1:
        return None
    if lead[0] != images and aligned.shape[0] == 1:
        aligned = np.broadcast_to(aligned, (lead[0] // images, *aligned.shape[1:]))
    if count * channels > _REPEATED * array.size:
        return None
    per_image = (lead[0] // images, *lead[1:]) if lead[0] != images else (1, *lead[1:])
    return np.broadcast_to(aligned, (*per_image, channels)).reshape(count, channels)


def lay_out(model: ir.Model, node: ir.Node, form: RowWise, order: Array) -> None:
    """Adapt the constants and axes of a node to inputs [B, T, C] with permuted rows.

    Args:
        model: the graph.
        node: a row-wise node; its data inputs are already permuted.
        form: inputs that the node reads row by row.
        order: position of each new row among the former rows, [T].
    """
    for position, value in enumerate(node.inputs):
        if value is None or position in form.data:
            continue
        if position in form.constants:
            _give(model, node, position, form.constants[position][order][None])
        elif node.op_type in BROADCAST and len(sizes_of(value) or ()) > 3:
            _give(model, node, position, array_of(value).reshape(1, 1, -1))
    if node.op_type in NORMS:
        node.attributes.add(ir.AttrInt64("axis", -1))
    if node.op_type in REDUCTIONS:
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            _give(model, node, 1, np.asarray([-1]))
        else:
            node.attributes.add(ir.AttrInt64s("axes", [-1]))


def _give(model: ir.Model, node: ir.Node, position: int, array: Array) -> None:
    node.replace_input_with(position, derive_constant(model, array, input_of(node, position)))
