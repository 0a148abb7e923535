"""Plans: how the tensor that a map describes is made from its source, in as few and as cheap steps as possible.

1. What strides alone describe is a view, a Transpose or a Slice, between Reshapes where the axes differ.
2. What needs a table is one Gather of rows by constant indices, before or after a Transpose.
3. What strides describe is made with a Gather of all rows too if that takes fewer nodes, as for windows of tokens, or
   half the time: windows of an image whose channels come first are a Transpose of one axis and a Gather. Otherwise a
   Transpose stays one, by which runtimes know attention. Parts, as heads of joined queries are, are never gathered.
"""

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.rows import gathered
from export.passes.movement.steps import Plan, cost_of_plan
from export.passes.movement.views import strided

_CHEAPER = 2
"""Factor by which a Gather must be cheaper than a Transpose if it takes as many nodes."""


def plans_of(one: IndexMap, source: tuple[int, ...]) -> list[Plan]:
    """Return different plans for a map, the cheapest first.

    Args:
        one: the map.
        source: the shape of the source.

    Raises:
        DeclinedError: no plan is known.
    """
    one = one.normalised()
    images = one.batch or 1
    found = dict.fromkeys(strided(one, source))
    least = min(((cost_of_plan(plan, source, images), len(plan)) for plan in found), default=None)
    for plan in gathered(one, source):
        if least is None or len(plan) < least[1] or cost_of_plan(plan, source, images) < least[0] / _CHEAPER:
            found[plan] = None
    if not found:
        raise DeclinedError("it is neither a Gather of rows nor a view of one")
    return sorted(found, key=lambda plan: (cost_of_plan(plan, source, images), len(plan)))
