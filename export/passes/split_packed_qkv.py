"""Queries, keys and values split where they lie side by side, and each laid out once.

`x.reshape(B, N, 3, H, d).permute(2, 0, 3, 1, 4).unbind(0)` lays out all three, cuts three copies out of that, and lays
out the keys again; a Split of the columns first leaves one Transpose for each.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.passes.operators import places_read
from export.passes.sweep import Sweep
from export.passes.values import (
    add_constant,
    add_node,
    integers_of,
    name_of,
    only_use,
    producer_of,
    shape_of,
    sizes_of,
)


class SplitPackedQKV(Sweep):
    """Replace Reshape → Transpose → one part by one of an axis by Split → Reshape → Transpose.

    1. The Reshape makes several axes of one, the first of which is the one whose places are read, so that its places
       are neighbouring columns; the Transpose moves it anywhere.
    2. All that reads the Transpose is a Gather of one place of that axis, or a Slice of one that a Squeeze follows.
    3. A part that a Transpose alone reads is laid out as that one wants it.
    4. Nothing else reads what lies between, and all sizes are known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace them, and remove what nothing reads any more."""
        result = super().call(model)
        if result.modified:
            common.RemoveUnusedNodesPass()(model)
        return result

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Replace what a Transpose lays out."""
        packed = _packed(node) if node.op_type == "Transpose" and node.domain == "" else None
        if packed is None:
            return False
        _split(model, packed)
        return True


class _Packed(NamedTuple):
    """Packed product to split.

    Attributes:
        source: holds the parts side by side.
        columns: the axis of it that does.
        reshape: takes it apart.
        axis: the axis of the Reshape's result whose places are the parts.
        transpose: lays out the result.
        parts: by place, the values that hold one.
    """

    source: ir.Value
    columns: int
    reshape: ir.Node
    axis: int
    transpose: ir.Node
    parts: list[tuple[int, ir.Value]]


def _packed(transpose: ir.Node) -> _Packed | None:
    moved, laid_out = transpose.inputs[0], transpose.outputs[0]
    reshape = producer_of(moved)
    if moved is None or reshape is None or reshape.op_type != "Reshape" or len(moved.uses()) > 1:
        return None
    source, sizes, result = reshape.inputs[0], sizes_of(reshape.inputs[0]), sizes_of(moved)
    order = transpose.attributes.get_ints("perm", None)
    if source is None or sizes is None or result is None or order is None or laid_out.is_graph_output():
        return None
    found = [_part(use.node, laid_out) for use in laid_out.uses()]
    axes = {part[0] for part in found if part is not None}
    if None in found or len(axes) != 1:
        return None
    axis = order[axes.pop()]
    columns = _cut_into(sizes, result, axis)
    if columns is None:
        return None
    return _Packed(source, columns, reshape, axis, transpose, [part[1:] for part in found if part is not None])


def _part(reader: ir.Node, value: ir.Value) -> tuple[int, int, ir.Value] | None:
    """Return the axis of which a node reads one place, the place, and the value that holds it without the axis."""
    axis, places = places_read(reader) or (0, np.arange(0))
    if reader.inputs[0] is not value or places.size != 1:
        return None
    if reader.op_type == "Gather":
        return (axis, int(places), reader.outputs[0]) if places.ndim == 0 else None
    squeeze, _ = only_use(reader.outputs[0]) or (None, 0)
    dropped = None if squeeze is None or squeeze.op_type != "Squeeze" else integers_of(squeeze, 1)
    if squeeze is None or dropped is None or [a % len(shape_of(value)) for a in dropped] != [axis]:
        return None
    return axis, int(places[0]), squeeze.outputs[0]


def _cut_into(sizes: tuple[int, ...], result: tuple[int, ...], axis: int) -> int | None:
    """Return the axis of `sizes` that a Reshape cuts into `axis` of its result and the axes behind it."""
    before = np.prod(result[:axis], dtype=int)
    for columns, size in enumerate(sizes):
        if np.prod(sizes[:columns], dtype=int) == before and size > result[axis] > 1 and size % result[axis] == 0:
            behind = np.cumprod(result[axis:]).tolist()
            return columns if size in behind else None
    return None


def _split(model: ir.Model, packed: _Packed) -> None:
    source, transpose = packed.source, packed.transpose
    sizes, result = shape_of(source), shape_of(packed.reshape.outputs[0])
    count, noted = result[packed.axis], dict(transpose.metadata_props)
    split = ir.node(
        "Split", [source], {"axis": packed.columns, "num_outputs": count}, num_outputs=count, metadata_props=noted
    )
    model.graph.insert_before(transpose, split)
    width = sizes[packed.columns] // count
    for output in split.outputs:
        output.type = source.type
        output.shape = ir.Shape([*sizes[: packed.columns], width, *sizes[packed.columns + 1 :]])
    kept = [*result[: packed.axis], *result[packed.axis + 1 :]]
    order = [axis - (axis > packed.axis) for axis in transpose.attributes.get_ints("perm") if axis != packed.axis]
    shape = add_constant(model, np.asarray(kept, np.int64), f"{name_of(packed.reshape.outputs[0])}.shape")
    for place, value in packed.parts:
        apart = add_node(transpose, "Reshape", [split.outputs[place], shape], kept, {"allowzero": 1})
        last, perm = _only_transpose(value), order
        if last is not None:
            perm = [order[axis] for axis in last.attributes.get_ints("perm")]
            value = last.outputs[0]
        laid_out = add_node(transpose, "Transpose", [apart], shape_of(value), {"perm": perm})
        value.replace_all_uses_with(laid_out, replace_graph_outputs=True)
        if laid_out.is_graph_output():
            value.name, laid_out.name = None, value.name


def _only_transpose(value: ir.Value) -> ir.Node | None:
    reader, _ = only_use(value) or (None, 0)
    if reader is None or reader.op_type != "Transpose" or "perm" not in reader.attributes:
        return None
    return None if reader.outputs[0].is_graph_output() else reader
