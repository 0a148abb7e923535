"""Plans for several tensors that are made from one source: what they begin with alike is made once."""

from collections.abc import Iterable, Sequence

from export.passes.movement.index_map import IndexMap
from export.passes.movement.plans import plans_of
from export.passes.movement.steps import NODE, Plan, Slice, Transpose, cost_of, follow, shape_after, tidied

_KEPT = 6
"""Plans of a tensor that are tried, the cheapest."""


def choose(maps: Sequence[IndexMap], source: tuple[int, ...]) -> list[Plan]:
    """Return a plan for each map, so that all together cost as little as can be found.

    Tried are for each step that any plan begins with: all that can begin so do. Then plans are changed one by one.

    Raises:
        DeclinedError: a map has no plan.
    """
    options = [plans_of(one, source)[:_KEPT] for one in maps]
    options = [_and_by_way_of_others(position, maps, options, source) for position in range(len(maps))]
    images = next((one.batch for one in maps if one.batch), None) or 1
    starts = [[plans[0] for plans in options]]
    prefixes = dict.fromkeys(plan[:length] for plans in options for plan in plans for length in (1, 2) if plan)
    starts += [
        [next((plan for plan in plans if plan[: len(prefix)] == prefix), plans[0]) for plans in options]
        for prefix in prefixes
    ]
    best = min(starts, key=lambda plans: cost_together(plans, source, images))
    return _improved(best, options, source, images)


def _improved(
    chosen: list[Plan], options: Sequence[Sequence[Plan]], source: tuple[int, ...], images: int
) -> list[Plan]:
    least, changed = cost_together(chosen, source, images), True
    while changed:
        changed = False
        for position, plans in enumerate(options):
            for plan in plans:
                other = [*chosen[:position], plan, *chosen[position + 1 :]]
                cost = cost_together(other, source, images)
                if cost < least:
                    chosen, least, changed = other, cost, True
    return chosen


def _and_by_way_of_others(
    position: int, maps: Sequence[IndexMap], options: Sequence[Sequence[Plan]], source: tuple[int, ...]
) -> list[Plan]:
    """Return the plans of a map, and such as begin like another's up to a Slice after a Transpose, as keys may."""
    plans = list(options[position])
    own = maps[position].normalised()
    for other in range(len(maps)):
        for plan in options[other]:
            if other == position or len(plan) < 2 or not isinstance(plan[-1], Slice):
                continue
            if not isinstance(plan[-2], Transpose):
                continue
            plans += _continued(own, plan, source)
    return list(dict.fromkeys(plans))


def _continued(one: IndexMap, plan: Plan, source: tuple[int, ...]) -> list[Plan]:
    """Return a plan for a map that ends like another's, but with another part of the same size, and a Transpose."""
    *before, last = plan
    assert isinstance(last, Slice), "asked before"
    if len(last.axes) != 1 or one.tables:
        return []
    whole = follow(before, IndexMap.identity(source, one.batch))
    axis, length = last.axes[0], last.stops[0] - last.starts[0]
    for start in range(0, whole.shape[axis] - length + 1, length):
        part = whole.slice(axis, start, length).normalised()
        if part.base != one.base:
            continue
        shown = {(part.sizes[d], part.strides.get(d)): position for position, a in enumerate(part.axes) for d in a}
        wanted = [[(one.sizes[d], one.strides.get(d)) for d in a] for a in one.axes]
        if any(len(axis_) != 1 or axis_[0] not in shown for axis_ in wanted) or len(wanted) != len(part.axes):
            return []
        order = tuple(shown[axis_[0]] for axis_ in wanted)
        if sorted(order) != list(range(len(order))):
            return []
        return [tidied([*before, Slice((axis,), (start,), (start + length,)), Transpose(order)], source)]
    return []


def cost_together(plans: Iterable[Plan], source: tuple[int, ...], images: int) -> float:
    """Return the nanoseconds for one image that all plans take, where equal beginnings are made once.

    Slices of one axis that hold all of it, each place once, are one Split.
    """
    made: dict[Plan, float] = {}
    slices: dict[Plan, list[Slice]] = {}
    for plan in plans:
        shape = source
        for length, step in enumerate(plan, 1):
            if plan[:length] not in made:
                made[plan[:length]] = cost_of(step, shape, images)
                if isinstance(step, Slice):
                    slices.setdefault(plan[: length - 1], []).append(step)
            shape = shape_after(step, shape)
    saved = sum(NODE * (len(parts) - 1) for prefix, parts in slices.items() if len(parts) > 1)
    return sum(made.values()) - saved
