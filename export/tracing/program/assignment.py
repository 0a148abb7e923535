"""Conversion of assignments to parts of a tensor (`y[:, 1:] = x`) to concatenations of kept and assigned parts.

Without in-place operators, such assignments are `slice_scatter` and `select_scatter`, which torch.onnx converts to
ScatterND with indices of every element. A concatenation depends on neither indices nor the batch size. A tensor that is
overwritten completely (`zeros_like`, filled part by part) is removed.
"""

from typing import NamedTuple

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from export.tracing.program.nodes import arguments_of, insert_call

_ATEN = torch.ops.aten
_PARTS = {_ATEN.diagonal.default, _ATEN.narrow.default, _ATEN.select.int, _ATEN.slice.Tensor}
"""Operators that return a view of a part of a tensor."""
_MANY_PIECES = 8
"""Number of slices from which one Gather is cheaper, as in `y[..., ::2] = x`."""


class _Row(NamedTuple):
    """Origin of one row of a tensor along the assigned dimension."""

    source: fx.Node
    position: int


_Assigned = tuple[int, list[_Row]]
"""The assigned dimension, and the rows along it."""


def assigns(program: ExportedProgram) -> bool:
    """Return whether an in-place operator writes to a part of a tensor (`y[:, 1:] = x`) or to a constant."""
    image = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT}
    dependent: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in image or any(argument in dependent for argument in node.all_input_nodes):
            dependent.add(node)
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        written = node.args[0]
        assert isinstance(written, fx.Node)
        if written.target in _PARTS:
            return True
        if written not in dependent and (len(written.users) > 1 or not _makes_its_result(written)):
            return True
    return False


def _makes_its_result(node: fx.Node) -> bool:
    """Return whether a node returns new memory, not a view of an argument."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema = node.target._schema
    return all(argument.alias_info is None for argument in (*schema.arguments, *schema.returns))


def join_assignments(graph: fx.Graph) -> None:
    """Replace the assignments of a graph without in-place operators, and slices that read one assigned part."""
    assigned: dict[fx.Node, _Assigned] = {}
    for node in list(graph.nodes):
        made: fx.Node | None = None
        if node.target is _ATEN.copy.default:
            made = _copied(node)
        elif node.target in {_ATEN.slice_scatter.default, _ATEN.select_scatter.default}:
            made = _assigned(node, assigned)
        elif node.target in {_ATEN.slice.Tensor, _ATEN.select.int}:
            made = _read(node, assigned)
        if made is not None:
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def _copied(node: fx.Node) -> fx.Node:
    """Return the source of a copy, with the shape and dtype of its target."""
    source, wanted = node.args[1], node.meta["val"]
    assert isinstance(source, fx.Node), "the source of a copy is a tensor"
    if source.meta["val"].dtype != wanted.dtype:
        source = insert_call(node, _ATEN._to_copy.default, source, dtype=wanted.dtype)
    if source.meta["val"].shape != wanted.shape:
        source = insert_call(node, _ATEN.expand.default, source, list(wanted.shape))
    return source


def _assigned(node: fx.Node, assigned: dict[fx.Node, _Assigned]) -> fx.Node:
    """Return the tensor after an assignment, and record its rows in `assigned`."""
    given = arguments_of(node)
    base, source = given["input" if "input" in given else "self"], given["src"]
    sizes = base.meta["val"].shape
    dim = given["dim"] % len(sizes)
    if node.target is _ATEN.select_scatter.default:
        places = [given["index"] % sizes[dim]]
        source = insert_call(node, _ATEN.unsqueeze.default, source, dim)
    else:
        places = list(range(sizes[dim])[given["start"] : given["end"] : given["step"]])
    rows = [_Row(base, index) for index in range(sizes[dim])]
    if base in assigned and assigned[base][0] == dim:
        rows = list(assigned[base][1])
    for index, place in enumerate(places):
        rows[place] = _Row(source, index)
    made = _concatenated(node, dim, rows) if places else base
    assigned[made] = dim, rows
    return made


def _read(node: fx.Node, assigned: dict[fx.Node, _Assigned]) -> fx.Node | None:
    """Return the result of a slice of an assigned tensor, if all its rows have one source."""
    given = arguments_of(node)
    dim, rows = assigned.get(given["self"], (-1, []))
    if dim != given["dim"] % len(given["self"].meta["val"].shape):
        return None
    if node.target is _ATEN.select.int:
        row = rows[given["index"]]
        return insert_call(node, _ATEN.select.int, row.source, dim, row.position)
    read = rows[given["start"] : given["end"] : given["step"]]
    return _concatenated(node, dim, read) if len({row.source for row in read}) == 1 else None


def _concatenated(node: fx.Node, dim: int, rows: list[_Row]) -> fx.Node:
    """Return the concatenated rows, as slices of their sources or as one Gather."""
    pieces = [[rows[0]]]
    for row in rows[1:]:
        last = pieces[-1][-1]
        if row == (last.source, last.position + 1):
            pieces[-1].append(row)
        else:
            pieces.append([row])
    if len(pieces) < _MANY_PIECES:
        return _joined(node, dim, [_piece(node, dim, piece) for piece in pieces])
    starts: dict[fx.Node, int] = {}
    length = 0
    for source in dict.fromkeys(row.source for row in rows):
        starts[source] = length
        length += source.meta["val"].shape[dim]
    indices = insert_call(node, torch.tensor, [starts[row.source] + row.position for row in rows])
    return insert_call(node, _ATEN.index_select.default, _joined(node, dim, list(starts)), dim, indices)


def _piece(node: fx.Node, dim: int, rows: list[_Row]) -> fx.Node:
    source, start = rows[0]
    if len(rows) == source.meta["val"].shape[dim]:
        return source
    return insert_call(node, _ATEN.slice.Tensor, source, dim, start, start + len(rows))


def _joined(node: fx.Node, dim: int, pieces: list[fx.Node]) -> fx.Node:
    return pieces[0] if len(pieces) == 1 else insert_call(node, _ATEN.cat.default, pieces, dim)
