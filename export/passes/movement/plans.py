"""Plans: short and cheap sequences of operators that compute a tensor from its source, given its index map.

1. A map with strides only becomes views, a Transpose or a Slice, with Reshapes where the axes differ.
2. A map with a table becomes one Gather of rows with constant indices, before or after a Transpose.
3. A map with strides only becomes a Gather of all rows if that takes fewer nodes (windows of tokens) or less than half
   the time (windows of an image [B, C, H, W]). Otherwise the Transpose stays, because runtimes recognise attention by
   it. A part of the source, such as the heads of packed queries, is never gathered.
"""

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.rows import gathered
from export.passes.movement.steps import Plan, cost_of_plan
from export.passes.movement.views import strided

_CHEAPER = 2
"""Factor by which a Gather must be cheaper than a Transpose if it does not take fewer nodes."""


def plans_of(one: IndexMap, source: tuple[int, ...]) -> list[Plan]:
    """Return the known plans for a map, the cheapest first.

    Args:
        one: the map.
        source: shape of the source.

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
        raise DeclinedError("neither views nor one Gather of rows can express the chain")
    return sorted(found, key=lambda plan: (cost_of_plan(plan, source, images), len(plan)))
