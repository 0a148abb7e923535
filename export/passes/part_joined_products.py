"""Queries, keys and values of one joined product, where only some rows of the queries are read.

x·[Wq Wk Wv] makes all columns for every row. Taken apart, x·Wq and x·[Wk Wv] are as much work, but then rows of the
first that are not read need not be made.
"""

from typing import NamedTuple

import onnx_ir as ir

from export.passes.narrowing import narrow, part_read, parts_read, take
from export.passes.operators import split_places
from export.passes.parts import Part, needed
from export.passes.sweep import Sweep
from export.passes.values import is_constant, producer_of, readers_of, sizes_of


class PartJoinedProducts(Sweep):
    """Take apart a product with constants, and what lies between it and the Split, Slices or Gathers of its columns.

    1. One of these is read in some rows only (`ComputeWhatIsRead` then moves these up), and no other overlaps with it.
    2. What lies between works on each column for itself, joins constants alone and has one reader.
    3. Sizes must be known, so this runs while the batch is still a number; no axis gets a size that could be taken
       for it.

    Args:
        batch: the distinctive batch that the graph was traced with; None if the graph keeps its batch.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch

    def rewrite(self, model: ir.Model, node: ir.Node) -> bool:
        """Take a product apart."""
        joined = _joined(node)
        if joined is None or (self.batch is not None and any(part.length % self.batch == 0 for part in joined)):
            return False
        _separate(model, node, joined)
        return True


class _Joined(NamedTuple):
    """The part of a node's result of which only some rows are read, and what holds all other parts."""

    few: Part
    rest: Part


def _joined(node: ir.Node) -> _Joined | None:
    value = node.outputs[0]
    if value.is_graph_output() or not value.uses() or len(node.outputs) > 1:
        return None
    parts = [part for reader in readers_of(value) for part in _parts_made(reader, value)]
    if any(part is None for part, _ in parts):
        return None
    for few in dict.fromkeys(part for part, result in parts if part is not None and parts_read(result)):
        others = [part for part, _ in parts if part is not None and part != few]
        if not others or {part.axis for part in others} != {few.axis}:
            continue
        rest = Part(few.axis, min(part.start for part in others), max(part.stop for part in others))
        apart = rest.stop <= few.start or few.stop <= rest.start
        if apart and _leads_to_a_product(node, _Joined(few, rest)):
            return _Joined(few, rest)
    return None


def _parts_made(reader: ir.Node, value: ir.Value) -> list[tuple[Part | None, ir.Value]]:
    """Return the parts of `value` that a reader yields, and as what; None if it yields something else."""
    sizes = [sizes_of(output) for output in reader.outputs]
    if reader.op_type != "Split" or None in sizes or any(output.is_graph_output() for output in reader.outputs):
        return [(part_read(reader, value), reader.outputs[0])]
    axis, parts = split_places(reader)
    return [(Part(axis, part.start, part.stop), output) for part, output in zip(parts, reader.outputs, strict=True)]


def _leads_to_a_product(node: ir.Node, joined: _Joined) -> bool:
    """Return whether both parts can be followed up to a product of the same rows with constant columns."""
    if node.op_type == "MatMul":
        wants = [needed(node, part) for part in joined]
        return _is_computed_from_constants(node.inputs[1]) and all(want and list(want.inputs) == [1] for want in wants)
    above = _above(node, joined)
    if above is None or len(above[0].uses()) > 1 or above[0].is_graph_output():
        return False
    producer = above[0].producer()
    return producer is not None and len(producer.outputs) == 1 and _leads_to_a_product(producer, above[1])


def _above(node: ir.Node, joined: _Joined) -> tuple[ir.Value, _Joined] | None:
    """Return the one input of a node that is no constant and that its result's parts are made from, and its parts."""
    few, rest = (needed(node, part) for part in joined)
    if few is None or rest is None or (few.made, rest.made) != joined:
        return None
    inputs = [position for position in few.inputs if not is_constant(node.inputs[position])]
    value = node.inputs[inputs[0]] if len(inputs) == 1 else None
    return None if value is None else (value, _Joined(few.inputs[inputs[0]], rest.inputs[inputs[0]]))


def _is_computed_from_constants(value: ir.Value | None) -> bool:
    producer = producer_of(value)
    return is_constant(value) or (producer is not None and all(map(_is_computed_from_constants, producer.inputs)))


def _separate(model: ir.Model, node: ir.Node, joined: _Joined) -> None:
    """Let a twin of the node, and of those above it up to the product, make the few, and itself make the rest."""
    value = node.outputs[0]
    for split in readers_of(value):
        if split.op_type == "Split":
            for part, output in _parts_made(split, value):
                assert part is not None, "a Split makes parts"
                output.replace_all_uses_with(take(model, value, part))
            model.graph.remove(split, safe=True)
    above = None if node.op_type == "MatMul" else _above(node, joined)
    twin = ir.node(node.op_type, node.inputs, dict(node.attributes), metadata_props=dict(node.metadata_props))
    model.graph.insert_before(node, twin)
    twin.outputs[0].shape, twin.outputs[0].type = value.shape, value.type
    for reader in readers_of(value):
        part = part_read(reader, value)
        if part is not None and joined.few.start <= part.start and part.stop <= joined.few.stop:
            reader.replace_input_with(0, twin.outputs[0])
    for half, part in ((twin, joined.few), (node, joined.rest)):
        want = needed(half, part)
        assert want is not None, "it led to a product"
        narrow(model, half, want)
    if above is not None:
        producer = above[0].producer()
        assert producer is not None, "it led to a product"
        _separate(model, producer, above[1])
