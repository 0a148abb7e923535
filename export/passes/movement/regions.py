"""Regions: tensors whose rows may be stored in any common order.

A region consists of tensors connected by row-wise nodes and by permutations of whole rows. Its *frame* numbers the rows
of an image from 0 to T - 1; the order of a tensor is the list of these numbers in the traced graph. Rows enter a region
at entries and leave it at exits.
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
        rows: T, the number of rows per image.
        members: the tensors.
    """

    rows: int
    members: list["Member"] = field(default_factory=list)


@dataclass(eq=False)
class Member:
    """A tensor of a region: the output of a row-wise node, or an entry.

    Attributes:
        value: the tensor.
        region: its region.
        order: row numbers of the frame, in the traced order of the tensor.
        node: node that produces the tensor; None for an entry.
        form: inputs that the node reads row by row; None for an entry.
        links: member that the node reads, by input position.
    """

    value: ir.Value
    region: Region
    order: Array
    node: ir.Node | None = None
    form: RowWise | None = None
    links: dict[int, "Member"] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """C of the shape [..., C]."""
        return (sizes_of(self.value) or (0,))[-1]


@dataclass(frozen=True)
class Exit:
    """A tensor that a node outside the region reads, and the member that is its source."""

    value: ir.Value
    member: Member


@dataclass
class Regions:
    """The regions of a graph.

    Attributes:
        images: B, the batch size of the traced graph.
        batch: B if the batch becomes dynamic; None otherwise.
        chains: chains of data-movement operators.
        events: entries, outputs of row-wise nodes, and exits, in topological order.
        members: outputs of row-wise nodes, by tensor.
        entries: entries, by tensor.
    """

    images: int
    batch: int | None
    chains: Chains
    events: list[Member | Exit] = field(default_factory=list)
    members: dict[ir.Value, Member] = field(default_factory=dict)
    entries: dict[ir.Value, Member] = field(default_factory=dict)

    def origin(self, value: ir.Value) -> Origin:
        """Return the origin of a tensor."""
        return self.chains.of(value, self.batch)


def find_regions(model: ir.Model, batch: int | None) -> Regions:
    """Return the regions of a graph.

    Args:
        model: the graph; its shapes are static and its nodes in topological order.
        batch: the distinctive batch size that the graph was traced with; None if the graph keeps its batch size.
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
    """Add a node's output to the region of its inputs; different regions are merged."""
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
    """Return the member whose rows a tensor consists of, or a new entry, and the order of the tensor's rows."""
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
    """Move the members of `other` to `kept`; row i of the frame of `other` is row `places[i]` of that of `kept`."""
    for member in other.members:
        member.region, member.order = kept, places[member.order]
    kept.members += other.members


def rows_taken(one: IndexMap, images: int, rows: int, channels: int) -> Array | None:
    """Return the permutation of the rows of [B, T, C] that a map describes; None if it describes anything else."""
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
