"""Colours and positions of numbers in heat maps, compared with colours mixed by hand."""

from itertools import product

import numpy as np
import pytest

from export.report.heat_maps import encode, largest, shrink
from tests.export.report.reading import decode

BLUE, WHITE, RED, GREY = (29, 84, 158), (247, 247, 244), (176, 36, 44), (122, 122, 122)
ROUNDING = 2
"""Largest error of a channel, of 255: half a step of 211 / 127 levels, plus half a level."""


def mixed(number: float, limit: float) -> list[float]:
    """Return the colour of a number, mixed channel by channel."""
    if number <= -50:
        return list(GREY)
    end = BLUE if number < 0 else RED
    share = min(abs(number) / limit, 1)
    return [(1 - share) * white + share * full for white, full in zip(WHITE, end, strict=True)]


def assert_drawn(values: np.ndarray, limit: float, pixels: np.ndarray) -> None:
    assert pixels.shape == (*values.shape, 3)
    for row, column in product(*map(range, values.shape)):
        expected = mixed(float(values[row, column]), limit)
        assert np.abs(pixels[row, column] - np.array(expected)).max() <= ROUNDING, (row, column)


def test_each_number_has_its_colour_at_its_position() -> None:
    values = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    values[1, 7], values[4, 0] = -100.0, -np.inf
    limit = largest(values)
    assert limit == max(abs(float(v)) for v in values.flat if v > -50)
    pixels = decode(encode(values, limit))
    assert_drawn(values, limit, pixels)
    for wrong in (values[::-1], values[:, ::-1], -values):  # the comparison is able to fail
        with pytest.raises(AssertionError):
            assert_drawn(wrong, limit, pixels)


def test_zero_is_near_white_and_the_limit_has_the_full_colour_on_both_sides() -> None:
    pixels = decode(encode(np.array([[-2.0, 0.0, 2.0, 9.0]]), 2.0))
    assert pixels[0].tolist() == [list(BLUE), list(WHITE), list(RED), list(RED)]


def test_a_matrix_of_zeros_is_near_white() -> None:
    values = np.zeros((4, 4), np.float32)
    assert (decode(encode(values, largest(values))) == np.array(WHITE)).all()


@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (197, 50), (7, 144), (4, 4)])
def test_a_large_matrix_is_averaged_block_by_block(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(size=shape)
    values[: shape[0] // 2, : shape[1] // 2] = -100.0
    small = shrink(values)
    rows, columns = min(shape[0], 64), min(shape[1], 64)
    assert small.shape == (rows, columns)
    for row, column in product(range(rows), range(columns)):
        block = [
            values[i, j]
            for i in range(row * shape[0] // rows, (row + 1) * shape[0] // rows)
            for j in range(column * shape[1] // columns, (column + 1) * shape[1] // columns)
            if values[i, j] > -50
        ]
        assert small[row, column] == (pytest.approx(sum(block) / len(block)) if block else -np.inf)
