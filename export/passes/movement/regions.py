"""Regions: tensors whose rows may stand in any order, as long as all of them agree.

A region is what nodes that work row by row connect, and movement between them that only puts whole rows in another
order. Its *frame* numbers the rows of an image, 0 to T - 1; a tensor of the region has them in an order of its own,
that of the traced graph. Rows come in at entries and leave at exits.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from export.passes.movement.chains import Chains, Origin, find_chains
from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.row_wise import RowWise, row_wise, rows_of
from export.passes.values import Array, input_of, sizes_of


@dataclass(eq=False)
class Region:
    """Tensors with a common token order.

    Attributes:
        rows: T, of an image.
        members: tensors, in topological order.
    """

    rows: int
    members: list["Member"] = field(default_factory=list)


@dataclass(eq=False)
class Member:
    """A tensor of a region: what a row-wise node yields, or what comes in at an entry.

    Attributes:
        value: the tensor.
        region: its region.
        order: its rows, by their numbers in the frame.
        node: what yields it; None at an entry.
        form: how that node works.
        links: by input of the node, the member that it reads and in which order it reads it.
    """

    value: ir.Value
    region: Region
    order: Array
    node: ir.Node | None = None
    form: RowWise | None = None
    links: dict[int, "Member"] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """C, of its shape [..., C]."""
        return (sizes_of(self.value) or (0,))[-1]


@dataclass(frozen=True)
class Exit:
    """A tensor that something else than its region reads, and the member that it is taken from."""

    value: ir.Value
    member: Member


@dataclass
class Regions:
    """The regions of a graph.

    Attributes:
        images: B.
        batch: the same where it will be made dynamic; None otherwise.
        chains: what is made by moving data.
        events: entries, members and exits, in topological order.
        members: of nodes, by tensor.
        entries: by tensor.
    """

    images: int
    batch: int | None
    chains: Chains
    events: list[Member | Exit] = field(default_factory=list)
    members: dict[ir.Value, Member] = field(default_factory=dict)
    entries: dict[ir.Value, Member] = field(default_factory=dict)

    def origin(self, value: ir.Value) -> Origin:
        """Return what a tensor is taken from."""
        return self.chains.of(value, self.batch)


def find_regions(model: ir.Model, batch: int | None) -> Regions:
    """Return the regions of a graph.

    Args:
        model: all its sizes are numbers; nodes are in topological order.
        batch: the distinctive batch that the graph was traced with; None if the graph keeps its batch.
    """
    image = sizes_of(model.graph.inputs[0])
    regions = Regions(batch or (image[0] if image else 1), batch, find_chains(model, batch))
    left: set[ir.Value] = set()
    for node in model.graph:
        form = row_wise(node, regions.images)
        if form is not None:
            _add(regions, node, form)
        elif not any(output in regions.chains.origins for output in node.outputs):
            for value in dict.fromkeys(node.inputs):
                member = None if value is None or value in left else regions.members.get(regions.origin(value).source)
                if value is not None and member is not None:
                    left.add(value)
                    regions.events.append(Exit(value, member))
    return regions


def _add(regions: Regions, node: ir.Node, form: RowWise) -> None:
    """Add a node's result to the region of what it reads; regions that meet become one."""
    rows = rows_of(node.outputs[0], regions.images)
    assert rows is not None, "row-wise nodes have rows"
    member: Member | None = None
    links: dict[int, Member] = {}
    for position in form.data:
        value = input_of(node, position)
        read, order = _read(regions, value, rows)
        if member is None:
            member = Member(node.outputs[0], read.region, order, node, form)
        elif read.region is not member.region:
            _merge(member.region, read.region, member.order[np.argsort(order)])
        elif not np.array_equal(order, member.order):
            read = _entry(regions, value, rows)
            _merge(member.region, read.region, member.order[np.argsort(read.order)])
        links[position] = read
    assert member is not None, "row-wise nodes read data"
    member.links = links
    member.region.members.append(member)
    regions.members[member.value] = member
    regions.events.append(member)


def _read(regions: Regions, value: ir.Value, rows: int) -> tuple[Member, Array]:
    """Return the member that a tensor is taken from row by row, or a new entry; and in which order, by its frame."""
    origin = regions.origin(value)
    member = regions.members.get(origin.source)
    if member is not None and member.region.rows == rows and member.channels == (sizes_of(value) or (0,))[-1]:
        order = rows_taken(origin.map, regions.images, rows, member.channels)
        if order is not None:
            return member, member.order[order]
    entry = regions.entries.get(value) or _entry(regions, value, rows)
    return entry, entry.order


def _entry(regions: Regions, value: ir.Value, rows: int) -> Member:
    entry = Member(value, Region(rows), np.arange(rows))
    entry.region.members.append(entry)
    regions.entries[value] = entry
    regions.events.append(entry)
    return entry


def _merge(kept: Region, other: Region, places: Array) -> None:
    """Let one region take over the members of another, whose row i is its row `places[i]`."""
    for member in other.members:
        member.region, member.order = kept, places[member.order]
    kept.members += other.members


def rows_taken(one: IndexMap, images: int, rows: int, channels: int) -> Array | None:
    """Return which row of [B, T, C] each row of a tensor is, if it is all of them; None if it is not."""
    try:
        tokens = one.reshape([images, rows, channels])
    except DeclinedError:
        return None
    images_, taken, inner = (tokens.along(axis) for axis in range(3))
    if images_ is None or taken is None or inner is None:
        return None
    whole = np.array_equal(inner, np.arange(channels)) and np.array_equal(images_, rows * channels * np.arange(images))
    order, rest = np.divmod(taken + one.base, channels)
    return order if whole and not rest.any() and np.array_equal(np.sort(order), np.arange(rows)) else None
