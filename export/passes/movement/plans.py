"""Plans: how the tensor that a map describes is made from its source, in as few and as cheap steps as possible.

1. What strides alone describe is a view, a Transpose or a Slice, between Reshapes where the axes differ.
2. What needs a table is one Gather of rows by constant indices, before or after a Transpose.
3. What strides describe may be cheaper with a Gather of all rows too: windows of an image whose channels come first are
   a Transpose of one axis and a Gather. Parts, as heads of joined queries, keys and values are, are never gathered.
"""

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.rows import gathered
from export.passes.movement.steps import Plan, cost_of_plan
from export.passes.movement.views import strided


def plans_of(one: IndexMap, source: tuple[int, ...]) -> list[Plan]:
    """Return different plans for a map, the cheapest first.

    Args:
        one: the map.
        source: the shape of the source.

    Raises:
        DeclinedError: none is known.
    """
    one = one.normalised()
    found = dict.fromkeys((*strided(one, source), *gathered(one, source)))
    if not found:
        raise DeclinedError("it is neither a Gather of rows nor a view of one")
    return sorted(found, key=lambda plan: (cost_of_plan(plan, source, one.batch or 1), len(plan)))
