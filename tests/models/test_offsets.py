"""Index arithmetic, compared with double loops over pairs of tokens."""

import itertools

import pytest
import torch

from models.encodings.offsets import (
    clip,
    grid_offsets,
    grid_positions,
    pad_extra_tokens,
    piecewise,
    relative_position_index,
    table_offsets,
)
from tests.models.encodings.irpe_oracle import slow_clip, slow_piecewise

GRIDS = [(4, 4), (2, 2), (3, 5), (5, 3), (1, 6), (6, 1), (1, 1)]


def test_the_worked_2x2_example() -> None:
    assert relative_position_index((2, 2)).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


@pytest.mark.parametrize("grid", GRIDS)
def test_relative_position_index_numbers_offsets_row_by_row(grid: tuple[int, int]) -> None:
    rows, columns = grid
    tokens = list(itertools.product(range(rows), range(columns)))
    offsets = [(dy, dx) for dy in range(1 - rows, rows) for dx in range(1 - columns, columns)]
    expected = [[offsets.index((y - v, x - u)) for v, u in tokens] for y, x in tokens]
    assert relative_position_index(grid).tolist() == expected


@pytest.mark.parametrize("grid", GRIDS)
def test_every_offset_occurs(grid: tuple[int, int]) -> None:
    rows, columns = grid
    entries = set(relative_position_index(grid).flatten().tolist())
    assert entries == set(range((2 * rows - 1) * (2 * columns - 1)))


@pytest.mark.parametrize("grid", GRIDS)
def test_offsets_are_query_minus_key(grid: tuple[int, int]) -> None:
    rows, columns = grid
    tokens = list(itertools.product(range(rows), range(columns)))
    dy, dx = grid_offsets(grid)
    assert dy.tolist() == [[y - v for v, _ in tokens] for y, _ in tokens]
    assert dx.tolist() == [[x - u for _, u in tokens] for _, x in tokens]


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_tokens_are_in_raster_order_after_the_extra_ones(grid: tuple[int, int], extra: int) -> None:
    raster = [[row, column] for row in range(grid[0]) for column in range(grid[1])]
    assert grid_positions(grid, extra).tolist() == [[0, 0]] * extra + raster


@pytest.mark.parametrize("grid", GRIDS)
def test_the_offset_of_a_pair_is_that_of_its_row_in_the_table(grid: tuple[int, int]) -> None:
    of_rows = table_offsets(grid)
    of_pairs = of_rows[relative_position_index(grid)]  # [N, N, 2]
    assert torch.equal(of_pairs, torch.stack(grid_offsets(grid), dim=-1).float())


def test_extra_tokens_come_first_and_get_zeros() -> None:
    bias = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert pad_extra_tokens(bias, 0).tolist() == bias.tolist()
    assert pad_extra_tokens(bias, 1).tolist() == [[[0, 0, 0], [0, 1, 2], [0, 3, 4]]]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.9, 2.5, 20.0])
def test_piecewise_matches_the_papers_formula(ratio: float) -> None:
    alpha, beta, gamma = ratio, 2 * ratio, 8 * ratio
    x = torch.arange(-60, 61)
    assert piecewise(x, alpha, beta, gamma).tolist() == [slow_piecewise(v, alpha, beta, gamma) for v in x.tolist()]


def test_piecewise_rounds_half_to_even() -> None:
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert piecewise(halves, 3, 6, 24).tolist() == [-2, -2, 0, 0, 2, 2]
    # ln 2 / ln 4 = ½, so the logarithmic part is 1 + ½·3 = 2.5 and 1 + ½·5 = 3.5
    assert piecewise(torch.tensor([-2, 2]), 1, 4, 4).tolist() == [-2, 2]
    assert piecewise(torch.tensor([-2, 2]), 1, 6, 4).tolist() == [-4, 4]


def test_piecewise_never_exceeds_beta_and_never_decreases() -> None:
    values = piecewise(torch.arange(-1000, 1001), 1.9, 3.8, 15.2)
    assert values.min() == -3
    assert values.max() == 3
    assert bool((values.diff() >= 0).all())


@pytest.mark.parametrize("parameters", [(0, 1, 2), (2, 1, 3), (2, 2, 2), (-1, 1, 8)])
def test_piecewise_refuses_invalid_parameters(parameters: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="piecewise needs"):
        piecewise(torch.arange(3), *parameters)


@pytest.mark.parametrize("beta", [1, 3.8, 5.0])
def test_clip_matches_the_papers_formula(beta: float) -> None:
    x = torch.arange(-60, 61)
    expected = [slow_clip(v, 0, beta, 0) for v in x.tolist()]
    assert clip(x, beta).tolist() == clip(x.float(), beta).tolist() == expected
    assert clip(torch.tensor([0.5, 1.5, -1.5]), 5).tolist() == [0, 2, -2]  # half to even
