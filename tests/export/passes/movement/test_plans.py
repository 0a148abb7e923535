"""Plans, compared with the index maps they implement, and the cheapest plans for movements of real networks."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.passes.movement.digits import DeclinedError
from export.passes.movement.index_map import IndexMap
from export.passes.movement.plans import plans_of
from export.passes.movement.sharing import choose, cost_together
from export.passes.movement.steps import cost_of_plan, describe, follow, gather
from tests.export.passes.graphs import Array
from tests.export.passes.movement.chains import SHAPES, chains, offsets_in

many = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def window_order(side: int, window: int) -> Array:
    count = side // window
    places = np.arange(side * side).reshape(count, window, count, window)
    return places.transpose(0, 2, 1, 3).reshape(-1)


@pytest.mark.slow
@many
@given(st.data(), SHAPES.map(tuple))
def test_every_plan_gives_the_result_of_the_chain(data: st.DataObject, shape: tuple[int, ...]) -> None:
    one = IndexMap.identity(shape)
    try:
        for link in data.draw(chains(shape)):
            one = link.map(one)
        plans = plans_of(one, shape)
    except DeclinedError:
        return
    costs = [cost_of_plan(plan, shape) for plan in plans]
    assert costs == sorted(costs)
    for plan in plans:
        np.testing.assert_array_equal(offsets_in(follow(plan, IndexMap.identity(shape))), offsets_in(one))


def test_a_wrong_plan_gives_other_offsets() -> None:
    one = IndexMap.identity((2, 6, 3)).take(1, np.asarray([1, 0, 2, 5, 4, 3]))
    wrong = (gather(1, np.asarray([1, 0, 2, 5, 3, 4])),)
    assert not np.array_equal(offsets_in(follow(wrong, IndexMap.identity((2, 6, 3)))), offsets_in(one))


@pytest.mark.parametrize(
    ("one", "source", "plan"),
    [
        pytest.param(lambda m: m, (2, 3, 4), "nothing", id="nothing"),
        pytest.param(lambda m: m.reshape([6, 4]).reshape([2, 12]), (2, 3, 4), "Reshape", id="a view"),
        pytest.param(lambda m: m.transpose([0, 2, 1]), (2, 30, 40), "Transpose", id="one Transpose"),
        pytest.param(
            lambda m: m.transpose([0, 2, 3, 1]).reshape([2, 3136, 96]),
            (2, 96, 56, 56),
            "Reshape, Transpose",
            id="tokens",
        ),
        pytest.param(lambda m: m.slice(2, 64, 32).reshape([2, 50, 32]), (2, 50, 96), "Slice", id="values"),
        pytest.param(lambda m: m.slice(1, 0, 1).reshape([2, 64]), (2, 50, 64), "Gather", id="the class token"),
        pytest.param(lambda m: m.take(1, window_order(56, 7)[::-1].copy()), (2, 3136, 96), "Gather", id="rows"),
        pytest.param(
            lambda m: m.take(1, np.roll(window_order(56, 7), 5)).reshape([128, 49, 96]),
            (2, 3136, 96),
            "Gather, Reshape",
            id="shifted windows",
        ),
        pytest.param(
            lambda m: m.reshape([2, 96, 8, 7, 8, 7]).transpose([0, 2, 4, 3, 5, 1]).reshape([2, 3136, 96]),
            (2, 96, 56, 56),
            "Reshape, Transpose, Gather",
            id="windows of an image whose channels come first",
        ),
        pytest.param(
            lambda m: m.take(1, window_order(56, 7)[::-1].copy()).transpose([0, 2, 1]),
            (2, 3136, 96),
            "Gather, Transpose",
            id="back to channels first",
        ),
    ],
)
def test_the_cheapest_plan_is(one: Callable[[IndexMap], IndexMap], source: tuple[int, ...], plan: str) -> None:
    assert describe(plans_of(one(IndexMap.identity(source)), source)[0]) == plan


def test_joined_queries_keys_and_values_share_their_first_steps() -> None:
    source = (64, 49, 288)
    whole = IndexMap.identity(source)
    parts = [whole.slice(2, 96 * n, 96).reshape([64, 49, 3, 32]) for n in range(3)]
    maps = [part.transpose([0, 2, 3, 1] if n == 1 else [0, 2, 1, 3]) for n, part in enumerate(parts)]
    plans = choose(maps, source, [False, True, False])
    for plan, one in zip(plans, maps, strict=True):
        assert "Gather" not in describe(plan)
        np.testing.assert_array_equal(offsets_in(follow(plan, whole)), offsets_in(one))
    made = {plan[:length] for plan in plans for length in range(1, len(plan) + 1)}
    assert len(made) < sum(map(len, plans))
    alone = [plans_of(one, source)[0] for one in maps]
    assert cost_together(plans, source, 1, [False, True, False]) <= cost_together(alone, source, 1)
