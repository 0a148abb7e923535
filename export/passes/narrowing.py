"""Narrowing of nodes to the parts of their results that are read."""

import numpy as np
import onnx_ir as ir

from export.passes.operators import places_read
from export.passes.parts import Needed, Part, needed
from export.passes.values import (
    Array,
    add_constant,
    array_of,
    derive_constant,
    input_of,
    integers_of,
    is_constant,
    name_of,
    remove,
    shape_of,
    sizes_of,
)


def part_read(node: ir.Node, value: ir.Value) -> Part | None:
    """Return the part of `value` that a Slice of one axis with step 1, or a Gather with constant indices, reads."""
    read, step = places_read(node), integers_of(node, 4)
    if node.graph is not value.graph or node.inputs[0] is not value or read is None or not read[1].size:
        return None
    axis, places = read
    return Part(axis, int(places.min()), int(places.max()) + 1) if step is None or step.item() == 1 else None


def parts_read(value: ir.Value) -> dict[int, Part]:
    """Return, by axis, the smallest part of a value that contains everything that is read, if that is at most half.

    An axis is included if every reader reads a part of it, directly or after a Slice or Gather of another axis.
    """
    sizes, readers = sizes_of(value), value.consumers()
    if sizes is None or not readers or value.is_graph_output():
        return {}
    by_reader = [_parts_read_by(reader, value) for reader in readers]
    found = {}
    for axis in sorted(set.intersection(*map(set, by_reader))):
        start, stop = min(parts[axis].start for parts in by_reader), max(parts[axis].stop for parts in by_reader)
        if 2 * (stop - start) <= sizes[axis]:
            found[axis] = Part(axis, start, stop)
    return found


def _parts_read_by(reader: ir.Node, value: ir.Value) -> dict[int, Part]:
    own = part_read(reader, value)
    if own is None:
        return {}
    return {own.axis: own} | {axis: want.inputs[0] for axis, want in wants_behind(reader).items()}


def wants_behind(reader: ir.Node) -> dict[int, Needed]:
    """Return, by input axis, the part that a Slice or Gather needs if only parts of its result are read."""
    wants = [needed(reader, part) for part in parts_read(reader.outputs[0]).values()]
    return {want.inputs[0].axis: want for want in wants if want is not None and list(want.inputs) == [0]}


def narrow(model: ir.Model, node: ir.Node, want: Needed) -> None:
    """Restrict a node to a part of its outputs, which contains all that is read, and adjust the readers' indices."""
    for output in node.outputs:
        for reader in output.consumers():
            part = part_read(reader, output)
            if part is not None and part.axis != want.made.axis:
                narrow(model, reader, wants_behind(reader)[want.made.axis])
    for position, part in want.inputs.items():
        node.replace_input_with(position, take(model, input_of(node, position), part))
    if node.op_type == "Concat" and len(want.inputs) == 1:
        node.replace_input_with(0, node.inputs[next(iter(want.inputs))])
        node.resize_inputs(1)
    for output in node.outputs:
        if output.uses():
            _shorten(model, output, want.made)
    if node.op_type == "Reshape":
        _give(model, node, 1, np.asarray(shape_of(node.outputs[0])))


def take(model: ir.Model, value: ir.Value, part: Part) -> ir.Value:
    """Return a part of a value: a cut constant, or the output of a Slice, shared by all readers of the same part."""
    sizes = shape_of(value)
    if part.length == sizes[part.axis]:
        return value
    if is_constant(value):
        places = (slice(None),) * part.axis + (slice(part.start, part.stop),)
        return derive_constant(model, array_of(value)[places].copy(), value)
    for reader in value.consumers():
        if reader.op_type == "Slice" and part_read(reader, value) == part:
            return reader.outputs[0]
    numbers = {"starts": part.start, "ends": part.stop, "axes": part.axis}
    constants = [add_constant(model, np.asarray([n]), f"{name_of(value)}_{what}") for what, n in numbers.items()]
    node, producer = ir.node("Slice", [value, *constants]), value.producer()
    if producer is None:
        model.graph.insert_before(model.graph[0], node)
    else:
        model.graph.insert_after(producer, node)
    node.outputs[0].type = value.type
    node.outputs[0].shape = ir.Shape([*sizes[: part.axis], part.length, *sizes[part.axis + 1 :]])
    return node.outputs[0]


def _shorten(model: ir.Model, value: ir.Value, made: Part) -> None:
    """Set the shape of a value that was cut to a part, and adjust the indices of its readers."""
    sizes = shape_of(value)
    read = [(reader, part_read(reader, value)) for reader in value.consumers()]
    value.shape = ir.Shape([*sizes[: made.axis], made.length, *sizes[made.axis + 1 :]])
    for reader, part in read:
        assert part is not None, "each reader reads a part"
        if reader.op_type == "Gather":
            _give(model, reader, 1, array_of(input_of(reader, 1)) % sizes[made.axis] - made.start)
        elif part == made and not reader.outputs[0].is_graph_output():
            remove(reader, value)
        else:
            _give(model, reader, 1, np.asarray([part.start - made.start]))
            _give(model, reader, 2, np.asarray([part.stop - made.start]))


def _give(model: ir.Model, node: ir.Node, position: int, integers: Array) -> None:
    value = input_of(node, position)
    node.replace_input_with(position, derive_constant(model, integers.astype(array_of(value).dtype), value))
