"""Index maps, compared with arrays of offsets that pass through the same operators."""

from collections.abc import Callable
from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.passes.movement.digits import LARGEST_TABLE, DeclinedError
from export.passes.movement.index_map import IndexMap
from tests.export.passes.graphs import Array
from tests.export.passes.movement.chains import SHAPES, chains, offsets_in

many = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def offsets_of(shape: tuple[int, ...]) -> Array:
    return np.arange(prod(shape)).reshape(shape)


@pytest.mark.slow
@many
@given(st.data(), SHAPES.map(tuple))
def test_a_map_through_any_chain_holds_the_offsets_of_the_result(data: st.DataObject, shape: tuple[int, ...]) -> None:
    array, one = offsets_of(shape), IndexMap.identity(shape)
    for link in data.draw(chains(shape)):
        try:
            one = link.map(one)
        except DeclinedError:
            return
        array = link.array(array)
        assert one.shape == array.shape
        np.testing.assert_array_equal(offsets_in(one), array)
        np.testing.assert_array_equal(offsets_in(one.normalised()), array)


def test_a_comparison_of_offsets_can_fail() -> None:
    rolled = IndexMap.identity((6, 4)).take(0, np.roll(np.arange(6), 1))
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(offsets_in(rolled), np.roll(offsets_of((6, 4)), -1, 0))


def test_windows_are_strides_and_cyclic_shifts_are_tables_of_one_side() -> None:
    image = IndexMap.identity((5, 56, 56, 8))
    windows = image.reshape([5, 8, 7, 8, 7, 8]).transpose([0, 1, 3, 2, 4, 5]).reshape([320, 49, 8])
    assert not windows.tables
    shifted = image.take(1, np.roll(np.arange(56), -3)).take(2, np.roll(np.arange(56), -3))
    shifted = shifted.reshape([5, 8, 7, 8, 7, 8]).transpose([0, 1, 3, 2, 4, 5]).reshape([320, 49, 8])
    assert sorted(table.offsets.size for table in shifted.normalised().tables) == [56, 56]


def test_window_partition_and_reverse_compose_to_the_identity() -> None:
    order = offsets_of((56, 56)).reshape(8, 7, 8, 7).transpose(0, 2, 1, 3).reshape(-1)
    both = IndexMap.identity((2, 56 * 56, 3)).take(1, order).take(1, np.argsort(order)).normalised()
    assert not both.tables
    np.testing.assert_array_equal(offsets_in(both), offsets_of((2, 56 * 56, 3)))


def test_parts_joined_along_the_channels_become_strides() -> None:
    image = IndexMap.identity((2, 8, 8, 5))
    parts = [image.slice(1, i, 4, 2).slice(2, j, 4, 2) for j in (0, 1) for i in (0, 1)]
    merged = IndexMap.concat(parts, 3)
    assert merged.shape == (2, 4, 4, 20)
    assert not merged.normalised().tables


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda one: one.take(0, np.arange(11)[::-1].copy()), id="images in reverse"),
        pytest.param(lambda one: one.slice(0, 0, 5), id="some images"),
        pytest.param(
            lambda one: one.transpose([1, 0]).reshape([22, 3]).reshape([3, 22]).take(1, np.arange(22)), id="mixed"
        ),
    ],
)
def test_decline_operators_that_depend_on_the_position_in_the_batch(change: Callable[[IndexMap], IndexMap]) -> None:
    with pytest.raises(DeclinedError):
        change(IndexMap.identity((11, 6), batch=11))


def test_the_batch_axis_stays_separate_through_windows() -> None:
    image = IndexMap.identity((11, 8, 8, 3), batch=11)
    windows = image.reshape([11, 2, 4, 2, 4, 3]).transpose([0, 1, 3, 2, 4, 5]).reshape([44, 16, 3])
    assert windows.shape == (44, 16, 3)
    assert windows.reshape([11, 64, 3]).take(1, np.arange(64)[::-1].copy()).normalised().batch == 11


def test_decline_a_table_that_is_too_large() -> None:
    one, places = IndexMap.identity((LARGEST_TABLE * 2, 3)), np.arange(LARGEST_TABLE * 2)
    places[5] = 0
    with pytest.raises(DeclinedError, match="the index would have"):
        one.take(0, places)


def test_decline_parts_that_are_arranged_differently() -> None:
    square = IndexMap.identity((4, 4))
    with pytest.raises(DeclinedError, match="different layouts"):
        IndexMap.concat([square, square.transpose([1, 0])], 0)
