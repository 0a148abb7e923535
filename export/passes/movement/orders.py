"""Token orders: the order in which each tensor of a region stores its rows, chosen to move as little as possible.

Windows, grids and cyclic shifts are orders of an image's tokens. Where a block works on windows, everything row-wise
around it may stay in the order of windows: partition and reverse are views then, and only a change of windows moves
rows.

The orders are chosen for all tensors together, from the first node to the last: a state holds which orders the tensors
that are still needed are there in, and the cheapest states are followed on.
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

_STATES = 48
"""Number of candidate orders that the search keeps at each step."""
_ORDERS = 8
"""Most orders of a region that are tried, the most frequent among its tensors first."""
_UNCHANGED = 1.0
"""Nanoseconds by which an order that is not the traced one must be cheaper, for each tensor."""

State = tuple[tuple[int, int], ...]
"""For each tensor that is still needed, its number, and the orders that it is there in, as bits."""


@dataclass(frozen=True)
class _Path:
    """Choice for a tensor, and for those before it."""

    member: Member
    order: int
    before: "_Path | None"


def choose_orders(regions: Regions) -> dict[Member, Array]:
    """Return for each tensor of a region which row of the frame stands where.

    Tensors of regions in which all keep theirs are left out, unless they have different shapes [..., C] and one shape
    for all, [B, T, C], takes fewer views.
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
            there = dict(state)
            for more, after, order in _choices(event, there, orders, numbers, costs):
                key = tuple(sorted((number, bits) for number, bits in after.items() if number not in ended))
                if key not in found or cost + more < found[key][0]:
                    chosen = path if isinstance(event, Exit) else _Path(event, order, path)
                    found[key] = (cost + more, chosen)
        states = dict(sorted(found.items(), key=lambda item: item[1][0])[:_STATES])
    return min(states.values(), key=lambda state: state[0])[1]


Choice = tuple[float, dict[int, int], int]


def _choices(
    event: Member | Exit,
    there: dict[int, int],
    orders: dict[Region, list[Array]],
    numbers: dict[Member, int],
    costs: "_Costs",
) -> Iterable[Choice]:
    """Yield what an event may be done in: the cost, the state after it, and the order of what it makes."""
    if isinstance(event, Exit):
        bits = there[numbers[event.member]]
        leaving = [costs.exit(event, rows) for i, rows in enumerate(orders[event.member.region]) if bits >> i & 1]
        yield min(leaving), there, 0
        return
    for order, rows in enumerate(orders[event.region]):
        cost = 0.0 if np.array_equal(rows, event.order) else _UNCHANGED
        after = dict(there)
        if event.node is None:
            source = costs.source_of(event)
            if source is not None:
                bits, known = there[numbers[source]], orders[source.region]
                cost += min(costs.entry(event, rows, known[i]) for i in range(len(known)) if bits >> i & 1)
            else:
                cost += costs.entry(event, rows, None)
        for link in dict.fromkeys(event.links.values()):
            if not after[numbers[link]] >> order & 1:
                cost += costs.conversion(link, orders[event.region], after[numbers[link]], order)
                after[numbers[link]] |= 1 << order
        after[numbers[event]] = 1 << order
        yield cost, after, order


class _Costs:
    """Cost of bringing rows in, of reordering them, and of taking them out."""

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
        """Return the member of another region, or of the same, that an entry is taken from."""
        return self.regions.members.get(self.regions.origin(entry.value).source)

    def conversion(self, member: Member, orders: list[Array], there: int, order: int) -> float:
        """Return the cost of a tensor in another order than those in which it is there already.

        What comes in is taken from its source again, with what a Gather behind it would become there.
        """
        if member.node is not None:
            shape = (1, member.region.rows, member.channels)
            return cost_of(gather(1, np.arange(member.region.rows)), shape)
        source = self.source_of(member)
        traced = None if source is None else source.order
        known = [self.entry(member, rows, traced) for i, rows in enumerate(orders) if there >> i & 1]
        return max(self.entry(member, orders[order], traced) - max(known), VIEW)

    def entry(self, entry: Member, rows: Array, source: Array | None) -> float:
        """Return the cost of an entry in an order, from its source in another order, if that is a member too."""
        shape = (self.regions.images, entry.region.rows, entry.channels)
        moved = taken(np.argsort(entry.order)[rows])
        after: list[Step] = [Reshape(shape), *moved] if moved else []
        return self._cost(entry.value, self._before(self.source_of(entry), source), after)

    def exit(self, leaving: Exit, rows: Array) -> float:
        """Return the cost of what leaves a region, from a tensor in an order."""
        return self._cost(leaving.value, self._before(leaving.member, rows), [])

    def _before(self, member: Member | None, rows: Array | None) -> list[Step]:
        """Return the steps from what is stored of a member to the shape and order that it was traced with."""
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
        if shared and not before and not after:  # as it was traced, where others may read what lies between
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
        """Return the orders that each region may keep its rows in, the most frequent first."""
        found: dict[Region, Counter[bytes]] = {}
        for event in self.regions.events:
            counts = found.setdefault(event.member.region if isinstance(event, Exit) else event.region, Counter())
            counts.update(np.ascontiguousarray(order, np.int64).tobytes() for order in self._orders_at(event))
        return {
            region: [np.frombuffer(order, np.int64) for order, _ in counts.most_common(_ORDERS)]
            for region, counts in found.items()
        }

    def _orders_at(self, event: Member | Exit) -> list[Array]:
        """Return the order that a tensor was traced with, and the one in which it would come in or leave unmoved."""
        if isinstance(event, Exit):
            order = _read_in(self.regions, event)
            return [] if order is None else [event.member.order[order]]
        orders = [event.order]
        if event.node is None:
            order = _stands_in(self.regions, event)
            orders += [] if order is None else [event.order[order]]
        return orders

    def has_fewer_views(self, region: Region) -> bool:
        """Return whether a region in its traced order would take fewer views if all its tensors were [B, T, C]."""
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
    """Return the steps that put rows [B, T, C] in an order: a Gather, or none."""
    return [] if np.array_equal(order, np.arange(len(order))) else [gather(1, order)]


def _read_in(regions: Regions, leaving: Exit) -> Array | None:
    """Return the order in which the rows of a member are read, whatever is done with the parts of each row."""
    member = leaving.member
    one, shape = regions.origin(leaving.value).map.normalised(), (member.region.rows, member.channels)
    digits = [digit for digit in one.digits if digit in one.strides]
    lying = {d: (one.strides[d], one.strides[d] * one.sizes[d]) for d in digits}
    count = shape[0] * shape[1]
    inner = {d for d, (low, high) in lying.items() if low > 0 and high <= shape[1]}
    outer = {d for d, (low, _) in lying.items() if low >= count}
    chosen = tuple(digit for digit in one.digits if digit not in inner and digit not in outer)
    rows = IndexMap([chosen], one.sizes, one.strides, one.tables)
    if {digit for table in one.tables for digit in table.digits} - set(chosen):
        return None
    offsets = rows.along(0)
    if offsets is None:
        return None
    order = (offsets + one.base % count) // shape[1]
    return order if np.array_equal(np.sort(order), np.arange(shape[0])) else None


def _stands_in(regions: Regions, entry: Member) -> Array | None:
    """Return the order in which the rows of an entry stand in its source."""
    shape = (regions.images, entry.region.rows, entry.channels)
    try:
        offsets = regions.origin(entry.value).map.reshape(shape).along(1)
    except DeclinedError:
        return None
    return None if offsets is None else np.argsort(offsets, kind="stable")
