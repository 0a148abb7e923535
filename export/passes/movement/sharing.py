"""Plans for several tensors with one source; common first steps are computed once."""

from collections.abc import Sequence
from itertools import zip_longest

from export.passes.movement.index_map import IndexMap, alike
from export.passes.movement.plans import plans_of
from export.passes.movement.steps import (
    NODE,
    Plan,
    Slice,
    Transpose,
    cost_of,
    follow,
    is_swap,
    shape_after,
    splits_of,
    tidied,
)

_KEPT = 16
"""Largest number of plans of a tensor that are tried, the cheapest first."""


def choose(maps: Sequence[IndexMap], source: tuple[int, ...], multiplied: Sequence[bool] = ()) -> list[Plan]:
    """Return a plan for each map, with a low total cost.

    For each prefix of one or two steps, the plans that have it are chosen where there are any, and the cheapest others
    elsewhere; the cheapest of these combinations is returned.

    Args:
        maps: index maps of the tensors.
        source: shape of the source.
        multiplied: True for tensors that only MatMul reads: runtimes fuse a Transpose of the last two axes into it.

    Raises:
        DeclinedError: a map has no plan.
    """
    options = [plans_of(one, source)[:_KEPT] for one in maps]
    options = [
        _with_plans_of_others(position, maps, options, source, transposed=transposed)
        for position, (_, transposed) in enumerate(zip_longest(maps, multiplied, fillvalue=False))
    ]
    images = next((one.batch for one in maps if one.batch), None) or 1
    starts = [[plans[0] for plans in options]]
    prefixes = dict.fromkeys(plan[:length] for plans in options for plan in plans for length in (1, 2) if plan)
    starts += [
        [next((plan for plan in plans if plan[: len(prefix)] == prefix), plans[0]) for plans in options]
        for prefix in prefixes
    ]

    def cost(plans: Sequence[Plan]) -> float:
        return cost_together(plans, source, images, multiplied)

    return min(starts, key=cost)


def _with_plans_of_others(
    position: int,
    maps: Sequence[IndexMap],
    options: Sequence[Sequence[Plan]],
    source: tuple[int, ...],
    *,
    transposed: bool,
) -> list[Plan]:
    """Return the plans of a map, and plans that begin like those of another map.

    These are plans of a map of which this one is a part, and, with `transposed`, plans that end with another part.
    """
    plans, own = list(options[position]), maps[position].normalised()
    for other, one in enumerate(maps):
        part = None if other == position else _part_of(own, one.normalised())
        for plan in options[other] if other != position else ():
            if part is not None:
                plans.append(tidied([*plan, part], source))
            if transposed and plan and isinstance(plan[-1], Slice):
                plans += _other_part(own, plan, source)
    return list(dict.fromkeys(plans))


def _part_of(own: IndexMap, whole: IndexMap) -> Slice | None:
    """Return the Slice of `whole`, one of several of equal size, that results in `own`; None if there is none."""
    differing = [axis for axis, sizes in enumerate(zip(own.shape, whole.shape, strict=False)) if len(set(sizes)) > 1]
    if len(own.axes) != len(whole.axes) or len(differing) != 1:
        return None
    (axis,) = differing
    length, count = own.shape[axis], whole.shape[axis]
    if count % length or (whole.batch and count % whole.batch == 0):
        return None
    for start in range(0, count, length):
        if whole.slice(axis, start, length).normalised().key == own.key:
            return Slice((axis,), (start,), (start + length,))
    return None


def _other_part(one: IndexMap, plan: Plan, source: tuple[int, ...]) -> list[Plan]:
    """Return the plan with its last Slice moved to another part of equal size, and a Transpose; [] if there is none."""
    *before, last = plan
    assert isinstance(last, Slice), "checked by the caller"
    if len(last.axes) != 1 or one.tables:
        return []
    whole = follow(before, IndexMap.identity(source, one.batch))
    axis, length = last.axes[0], last.stops[0] - last.starts[0]
    for start in range(0, whole.shape[axis] - length + 1, length):
        part = whole.slice(axis, start, length).normalised()
        if part.base != one.base or part.tables:
            continue
        left = {position: part.along(position) for position in range(len(part.axes))}
        order = []
        for wanted in map(one.along, range(len(one.axes))):
            found = next((position for position, offsets in left.items() if alike(offsets, wanted)), None)
            if found is None:
                return []
            order.append(found)
            del left[found]
        if not left:
            return [tidied([*before, Slice((axis,), (start,), (start + length,)), Transpose(tuple(order))], source)]
    return []


def cost_together(
    plans: Sequence[Plan], source: tuple[int, ...], images: int, multiplied: Sequence[bool] = ()
) -> float:
    """Return the cost of all plans in nanoseconds per image; common prefixes count once.

    Slices that partition an axis count as one Split.
    """
    made: dict[Plan, float] = {}
    fused = {plan for plan, read in zip(plans, multiplied, strict=False) if read and is_swap(plan[-1:])}
    for plan in plans:
        shape = source
        for length, step in enumerate(plan, 1):
            prefix = plan[:length]
            if prefix not in made:
                made[prefix] = NODE if prefix in fused else cost_of(step, shape, images)
            shape = shape_after(step, shape)
    return sum(made.values()) - sum(NODE * (len(parts) - 1) for parts in splits_of(plans, source).values())
