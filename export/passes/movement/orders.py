"""Choice of token orders: the order in which each tensor of a region stores its rows, with the least data movement.

Windows, grids and cyclic shifts permute an image's tokens. If row-wise nodes around a window block work in window
order, window partition and reverse are views, and rows are moved only where the windows change.

The orders are chosen by beam search over the nodes in topological order. A state records the orders in which each
tensor that is still needed is available; after each node the cheapest states are kept.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from export.passes.movement.chains import ends_of
from export.passes.movement.compose import cost_of_node
from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.plans import plans_of
from export.passes.movement.regions import Exit, Member, Region, Regions
from export.passes.movement.row_wise import rows_of
from export.passes.movement.steps import VIEW, Plan, Reshape, Step, cost_of, cost_of_plan, follow, gather
from export.passes.values import Array, sizes_of

_BEAM_WIDTH = 48
"""Number of states that the search keeps after each node."""
_ORDERS = 8
"""Largest number of candidate orders of a region: the most frequent among its tensors."""
_REORDERING_COST = 1.0
"""Cost in nanoseconds, per tensor, of an order other than the traced one, so that ties keep the traced order."""

State = tuple[tuple[int, int], ...]
"""Number of each tensor that is still needed, and a bit mask of the orders in which it is available."""


@dataclass(frozen=True)
class _Path:
    """Order chosen for a member, and the choices before it as a linked list."""

    member: Member
    order: int
    before: "_Path | None"


def choose_orders(regions: Regions) -> dict[Member, Array]:
    """Return the order of each tensor that is changed, as row numbers of its region's frame.

    A region in which every tensor keeps the traced order is omitted, unless its tensors have different shapes [..., C]
    and the common shape [B, T, C] takes fewer views.
    """
    costs = _Costs(regions)
    orders = costs.orders()
    path = _search(regions, orders, costs)
    chosen: dict[Member, Array] = {}
    while path is not None:
        chosen[path.member] = orders[path.member.region][path.order]
        path = path.before
    moved = {member.region for member, order in chosen.items() if not np.array_equal(order, member.order)}
    traced = {member.region for member in _members(regions)} - moved
    reshaped = {region for region in traced if costs.has_fewer_views(region)}
    return {member: order for member, order in chosen.items() if member.region in moved} | {
        member: member.order for member in _members(regions) if member.region in reshaped
    }


def _members(regions: Regions) -> list[Member]:
    return [event for event in regions.events if isinstance(event, Member)]


def _search(regions: Regions, orders: dict[Region, list[Array]], costs: "_Costs") -> _Path | None:
    numbers = {member: number for number, member in enumerate(_members(regions))}
    last: dict[Member, int] = {}
    for position, event in enumerate(regions.events):
        for member in (*costs.read_by(event), *([event] if isinstance(event, Member) else [])):
            last[member] = position
    states: dict[State, tuple[float, _Path | None]] = {(): (0.0, None)}
    for position, event in enumerate(regions.events):
        found: dict[State, tuple[float, _Path | None]] = {}
        ended = {number for member, number in numbers.items() if last[member] == position}
        for state, (cost, path) in states.items():
            available = dict(state)
            for more, after, order in _choices(event, available, orders, numbers, costs):
                key = tuple(sorted((number, mask) for number, mask in after.items() if number not in ended))
                if key not in found or cost + more < found[key][0]:
                    chosen = path if isinstance(event, Exit) else _Path(event, order, path)
                    found[key] = (cost + more, chosen)
        states = dict(sorted(found.items(), key=lambda item: item[1][0])[:_BEAM_WIDTH])
    return min(states.values(), key=lambda state: state[0])[1]


Choice = tuple[float, dict[int, int], int]


def _choices(
    event: Member | Exit,
    available: dict[int, int],
    orders: dict[Region, list[Array]],
    numbers: dict[Member, int],
    costs: "_Costs",
) -> Iterable[Choice]:
    """Yield the choices at an event: the cost, the state after it, and the index of the order of its result."""
    if isinstance(event, Exit):
        mask = available[numbers[event.member]]
        leaving = [costs.exit(event, rows) for i, rows in enumerate(orders[event.member.region]) if mask >> i & 1]
        yield min(leaving), available, 0
        return
    for order, rows in enumerate(orders[event.region]):
        cost = 0.0 if np.array_equal(rows, event.order) else _REORDERING_COST
        after = dict(available)
        if event.node is None:
            source = costs.source_of(event)
            if source is not None:
                mask, known = available[numbers[source]], orders[source.region]
                cost += min(costs.entry(event, rows, known[i]) for i in range(len(known)) if mask >> i & 1)
            else:
                cost += costs.entry(event, rows, None)
        for link in dict.fromkeys(event.links.values()):
            if not after[numbers[link]] >> order & 1:
                cost += costs.conversion(link, orders[event.region], after[numbers[link]], order)
                after[numbers[link]] |= 1 << order
        after[numbers[event]] = 1 << order
        yield cost, after, order


class _Costs:
    """Costs of entries, reorderings and exits, in nanoseconds per image."""

    def __init__(self, regions: Regions) -> None:
        self.regions, self.batch = regions, regions.batch
        self._costs: dict[tuple[object, ...], float] = {}
        self._plans: dict[tuple[object, ...], Plan | None] = {}
        ends = {value for values in ends_of(regions.chains).values() for value in values}
        self._ends_of = Counter(node for value in ends for node in regions.chains.origins[value].nodes)

    def read_by(self, event: Member | Exit) -> list[Member]:
        """Return the members that an event reads."""
        if isinstance(event, Exit):
            return [event.member]
        source = self.source_of(event) if event.node is None else None
        return [*dict.fromkeys(event.links.values()), *([source] if source is not None else [])]

    def source_of(self, entry: Member) -> Member | None:
        """Return the member that is the source of an entry, in any region; None if the source is in no region."""
        return self.regions.members.get(self.regions.origin(entry.value).source)

    def conversion(self, member: Member, orders: list[Array], available: int, order: int) -> float:
        """Return the cost of a member in an order in which it is not yet available.

        The Gather that reorders an entry is composed with the entry's chain, so only the difference counts.
        """
        if member.node is not None:
            shape = (1, member.region.rows, member.channels)
            return cost_of(gather(1, np.arange(member.region.rows)), shape)
        source = self.source_of(member)
        traced = None if source is None else source.order
        known = [self.entry(member, rows, traced) for i, rows in enumerate(orders) if available >> i & 1]
        return max(self.entry(member, orders[order], traced) - max(known), VIEW)

    def entry(self, entry: Member, rows: Array, source: Array | None) -> float:
        """Return the cost of an entry in order `rows`; `source` is the order of its source, if that is a member."""
        shape = (self.regions.images, entry.region.rows, entry.channels)
        moved = taken(np.argsort(entry.order)[rows])
        after: list[Step] = [Reshape(shape), *moved] if moved else []
        return self._cost(entry.value, self._before(self.source_of(entry), source), after)

    def exit(self, leaving: Exit, rows: Array) -> float:
        """Return the cost of an exit whose member is stored in order `rows`."""
        return self._cost(leaving.value, self._before(leaving.member, rows), [])

    def _before(self, member: Member | None, rows: Array | None) -> list[Step]:
        """Return the steps from a member as stored to its traced shape and order."""
        if member is None or rows is None:
            return []
        moved = taken(np.argsort(rows)[member.order])
        return [*moved, Reshape(sizes_of(member.value) or ())] if moved else []

    def _cost(self, value: ir.Value, before: list[Step], after: list[Step], *, shared: bool = True) -> float:
        origin = self.regions.origin(value)
        shape = sizes_of(origin.source) or ()
        between = self._plan(origin.map, shape)
        if before:
            shape = (self.regions.images, rows_of(origin.source, self.regions.images) or 0, shape[-1])
        if shared and not before and not after:  # unchanged; other chains may share its nodes
            return sum(cost_of_node(node, self.regions.images) / self._ends_of[node] for node in origin.nodes)
        key = (shape, tuple(before), between or origin.map.key, tuple(after))
        if key not in self._costs:
            if between is None:
                rest = sum(cost_of_node(node, self.regions.images) for node in origin.nodes)
                moved = [step for step in (*before, *after) if not isinstance(step, Reshape)]
                self._costs[key] = rest + sum(cost_of(step, shape, self.regions.images) for step in moved)
            else:
                self._costs[key] = self._cheapest((*before, *between, *after), shape)
        return self._costs[key]

    def _cheapest(self, steps: tuple[Step, ...], shape: tuple[int, ...]) -> float:
        images = self.regions.images
        try:
            plan = plans_of(follow(steps, IndexMap.identity(shape, self.batch)), shape)[0]
        except DeclinedError:
            return cost_of_plan(steps, shape, images)
        return cost_of_plan(plan, shape, images)

    def _plan(self, one: IndexMap, shape: tuple[int, ...]) -> Plan | None:
        key = (one.key, shape)
        if key not in self._plans:
            try:
                self._plans[key] = plans_of(one, shape)[0]
            except DeclinedError:
                self._plans[key] = None
        return self._plans[key]

    def orders(self) -> dict[Region, list[Array]]:
        """Return the candidate orders of each region, the most frequent first."""
        found: dict[Region, Counter[bytes]] = {}
        for event in self.regions.events:
            counts = found.setdefault(event.member.region if isinstance(event, Exit) else event.region, Counter())
            counts.update(np.ascontiguousarray(order, np.int64).tobytes() for order in self._orders_at(event))
        return {
            region: [np.frombuffer(order, np.int64) for order, _ in counts.most_common(_ORDERS)]
            for region, counts in found.items()
        }

    def _orders_at(self, event: Member | Exit) -> list[Array]:
        """Return the candidate orders at an event: the traced one, and the one in which no rows are moved."""
        if isinstance(event, Exit):
            order = _order_at_exit(self.regions, event)
            return [] if order is None else [event.member.order[order]]
        orders = [event.order]
        if event.node is None:
            order = _order_in_source(self.regions, event)
            orders += [] if order is None else [event.order[order]]
        return orders

    def has_fewer_views(self, region: Region) -> bool:
        """Return whether a region in its traced order takes fewer views if all its tensors are [B, T, C]."""
        if len({(sizes_of(member.value) or ())[:-1] for member in region.members}) == 1:
            return False
        inside = {
            value
            for member in region.members
            if member.node is not None
            for position, link in member.links.items()
            if (value := member.node.inputs[position]) is not link.value
        }
        more = 0.0
        for event in self.regions.events:
            if isinstance(event, Exit) and event.member.region is region:
                shape = sizes_of(event.member.value) or ()
                more += self._cost(event.value, [Reshape(shape)], []) - self._cost(event.value, [], [], shared=False)
            elif isinstance(event, Member) and event.region is region and event.node is None:
                shape = (self.regions.images, region.rows, event.channels)
                more += self._cost(event.value, [], [Reshape(shape)]) - self._cost(event.value, [], [], shared=False)
        return more < len(inside) * VIEW


def taken(order: Array) -> list[Step]:
    """Return the steps that permute the rows of [B, T, C]: one Gather, or none."""
    return [] if np.array_equal(order, np.arange(len(order))) else [gather(1, order)]


def _order_at_exit(regions: Regions, leaving: Exit) -> Array | None:
    """Return the order in which an exit reads the rows of its member, ignoring how it arranges the channels."""
    member = leaving.member
    one, shape = regions.origin(leaving.value).map.normalised(), (member.region.rows, member.channels)
    digits = [digit for digit in one.digits if digit in one.strides]
    ranges = {d: (one.strides[d], one.strides[d] * one.sizes[d]) for d in digits}
    count = shape[0] * shape[1]
    inner = {d for d, (low, high) in ranges.items() if low > 0 and high <= shape[1]}
    outer = {d for d, (low, _) in ranges.items() if low >= count}
    chosen = tuple(digit for digit in one.digits if digit not in inner and digit not in outer)
    rows = IndexMap([chosen], one.sizes, one.strides, one.tables)
    if {digit for table in one.tables for digit in table.digits} - set(chosen):
        return None
    offsets = rows.along(0)
    if offsets is None:
        return None
    order = (offsets + one.base % count) // shape[1]
    return order if np.array_equal(np.sort(order), np.arange(shape[0])) else None


def _order_in_source(regions: Regions, entry: Member) -> Array | None:
    """Return the order of an entry's rows in its source."""
    shape = (regions.images, entry.region.rows, entry.channels)
    try:
        offsets = regions.origin(entry.value).map.reshape(shape).along(1)
    except DeclinedError:
        return None
    return None if offsets is None else np.argsort(offsets, kind="stable")
