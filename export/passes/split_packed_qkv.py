"""Queries, keys and values split where they lie side by side, and each laid out once.

`x.reshape(B, N, 3, H, d).permute(2, 0, 3, 1, 4).unbind(0)` lays out all three, cuts three copies out of that, and lays
out the keys again; a Split of the columns first leaves one Transpose for each.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.values import add_constant, array_of, is_constant, name_of, only_use, sizes_of


class SplitPackedQKV(ir.passes.InPlacePass):
    """Replace Reshape → Transpose → one part by one of an axis by Split → Reshape → Transpose.

    1. The Reshape makes several axes of one, the first of which is the one whose places are read, so that its places
       are neighbouring columns; the Transpose moves it anywhere.
    2. All that reads the Transpose is a Gather of one place of that axis, or a Slice of one that a Squeeze follows.
    3. A part that a Transpose alone reads is laid out as that one wants it.
    4. Nothing else reads what lies between, and all sizes are known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Replace them."""
        modified = False
        for node in list(model.graph):
            packed = _packed(node) if node.op_type == "Transpose" and node.domain == "" else None
            if packed is not None:
                _split(model, packed)
                modified = True
        return ir.passes.PassResult(model, modified)


class _Packed(NamedTuple):
    """What is taken apart.

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
    reshape = None if moved is None else moved.producer()
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
    sizes = sizes_of(value)
    if sizes is None or reader.inputs[0] is not value or not all(map(is_constant, reader.inputs[1:])):
        return None
    numbers = [array_of(given) for given in reader.inputs[1:] if given is not None]
    if reader.op_type == "Gather" and numbers[0].ndim == 0:
        axis = reader.attributes.get_int("axis", 0) % len(sizes)
        return axis, int(numbers[0]) % sizes[axis], reader.outputs[0]
    if reader.op_type != "Slice" or len(numbers) < 3 or any(array.size != 1 for array in numbers):
        return None
    start, stop, axis, *step = (int(array.item()) for array in numbers)
    start, stop, _ = slice(start, stop).indices(sizes[axis])
    use = only_use(reader.outputs[0])
    squeeze = None if use is None else use[0]
    if step not in ([], [1]) or stop - start != 1 or squeeze is None or squeeze.op_type != "Squeeze":
        return None
    dropped = squeeze.inputs[1] if len(squeeze.inputs) > 1 else None
    if (
        dropped is None
        or not is_constant(dropped)
        or [a % len(sizes) for a in array_of(dropped)] != [axis % len(sizes)]
    ):
        return None
    return axis % len(sizes), start, squeeze.outputs[0]


def _cut_into(sizes: tuple[int, ...], result: tuple[int, ...], axis: int) -> int | None:
    """Return the axis of `sizes` that a Reshape cuts into `axis` of its result and the axes behind it."""
    before = np.prod(result[:axis], dtype=int)
    for columns, size in enumerate(sizes):
        if np.prod(sizes[:columns], dtype=int) == before and size > result[axis] > 1 and size % result[axis] == 0:
            behind = np.cumprod(result[axis:]).tolist()
            return columns if size in behind else None
    return None


def _split(model: ir.Model, packed: _Packed) -> None:
    graph, source, transpose = model.graph, packed.source, packed.transpose
    sizes, result = sizes_of(source), sizes_of(packed.reshape.outputs[0])
    assert sizes is not None, "asked before"
    assert result is not None, "asked before"
    count, noted = result[packed.axis], dict(transpose.metadata_props)
    split = ir.node(
        "Split", [source], {"axis": packed.columns, "num_outputs": count}, num_outputs=count, metadata_props=noted
    )
    graph.insert_before(transpose, split)
    width = sizes[packed.columns] // count
    for output in split.outputs:
        output.type = source.type
        output.shape = ir.Shape([*sizes[: packed.columns], width, *sizes[packed.columns + 1 :]])
    kept = [*result[: packed.axis], *result[packed.axis + 1 :]]
    order = [axis - (axis > packed.axis) for axis in transpose.attributes.get_ints("perm") if axis != packed.axis]
    shape = add_constant(model, np.asarray(kept, np.int64), f"{name_of(packed.reshape.outputs[0])}.shape")
    for place, value in packed.parts:
        apart = ir.node("Reshape", [split.outputs[place], shape], {"allowzero": 1}, metadata_props=noted)
        graph.insert_before(transpose, apart)
        apart.outputs[0].shape, apart.outputs[0].type = ir.Shape(kept), source.type
        last, perm = _only_transpose(value), order
        if last is not None:
            perm = [order[axis] for axis in last.attributes.get_ints("perm")]
            value = last.outputs[0]
        laid_out = ir.node("Transpose", [apart.outputs[0]], {"perm": perm}, metadata_props=noted)
        graph.insert_before(transpose, laid_out)
        _take_over(value, laid_out.outputs[0])
    _remove_unread(graph, transpose)


def _only_transpose(value: ir.Value) -> ir.Node | None:
    reader, _ = only_use(value) or (None, 0)
    if reader is None or reader.op_type != "Transpose" or "perm" not in reader.attributes:
        return None
    return None if reader.outputs[0].is_graph_output() else reader


def _take_over(old: ir.Value, new: ir.Value) -> None:
    new.shape, new.type = old.shape, old.type
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if old.is_graph_output():
        old.name, new.name = None, old.name


def _remove_unread(graph: ir.Graph, transpose: ir.Node) -> None:
    """Remove a node and what lies behind it, and before it, that nothing reads any more."""
    behind = [transpose]
    for node in behind:
        behind += [use.node for output in node.outputs for use in output.uses() if use.node not in behind]
    reshape = transpose.inputs[0]
    assert reshape is not None, "it transposes something"
    producer = reshape.producer()
    graph.remove(list(reversed(behind)), safe=True)
    if producer is not None:
        graph.remove(producer, safe=True)
