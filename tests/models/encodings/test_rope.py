"""Rotary encodings against explicit turns of complex numbers, one pair of tokens at a time."""

import cmath
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.encodings import Encoding, Place
from models.encodings.rope import RoPE, RoPEMixed
from tests.models.encodings.oracle import (
    GRIDS,
    HEAD_DIM,
    HEADS,
    TOLERANCE,
    Expected,
    Image,
    assert_differs,
    assert_returns,
    filled,
    image,
    on_every_place,
    spots,
)

NAMES = ["rope", "rope-mixed"]
HALF = HEAD_DIM // 2
DEFAULT_TEMPERATURE = 100.0

Angle = Callable[[int, int, tuple[int, int] | None], float]
"""By how much (head, pair of numbers, place of the token) turns."""


def axial(temperature: float) -> Angle:
    """The first half of the pairs turns with the row, the second with the column; slower and slower in each."""
    quarter = HEAD_DIM // 4
    return lambda _, pair, spot: (
        0 if spot is None else spot[pair // quarter] * temperature ** -(pair % quarter / quarter)
    )


def mixed(encoding: Encoding) -> Angle:
    """Every pair of every head turns with both."""
    rows, columns = encoding.get_parameter("frequencies")
    return lambda h, f, spot: 0 if spot is None else float(spot[0] * rows[h, f] + spot[1] * columns[h, f])


def angles_of(name: str, encoding: Encoding) -> Angle:
    return axial(DEFAULT_TEMPERATURE) if name == "rope" else mixed(encoding)


def slow_cos_and_sin(place: Place, angle: Angle, heads: int) -> Tensor:
    """Return [2, 1 or H, N, d], the two halves of d alike."""
    turned = torch.empty(2, heads, place.num_tokens, HEAD_DIM, dtype=torch.float64)
    for head, (i, spot), number in itertools.product(range(heads), enumerate(spots(place)), range(HEAD_DIM)):
        turn = cmath.rect(1, angle(head, number % HALF, spot))
        turned[0, head, i, number], turned[1, head, i, number] = turn.real, turn.imag
    return turned


def slow_scores(place: Place, angle: Angle, given: Image) -> Tensor:
    """Return q·k [B, H, N, N] after numbers i and i + d/2, as one complex number, were turned."""
    q, k = (torch.complex(x[..., :HALF], x[..., HALF:]) for x in (given.q, given.k))
    scores = torch.zeros_like(given.attention)
    everywhere = list(enumerate(spots(place)))
    for head, pair, (i, query), (j, key) in itertools.product(range(HEADS), range(HALF), everywhere, everywhere):
        turn = cmath.rect(1, angle(head, pair, query)) * cmath.rect(1, -angle(head, pair, key))
        scores[:, head, i, j] += (q[:, head, i, pair] * k[:, head, j, pair].conj() * turn).real
    return scores


def scores_of(encoding: Encoding, q: Tensor, k: Tensor) -> Tensor:
    rotation = encoding.rotation()
    assert rotation is not None
    return rotation.turn(q) @ rotation.turn(k).mT


@on_every_place
@pytest.mark.parametrize("name", NAMES)
def test_rope_turns_by_the_place_of_a_token(name: str, place: Place) -> None:
    encoding = filled(name, place)
    angle, heads = angles_of(name, encoding), 1 if name == "rope" else HEADS
    expected = slow_cos_and_sin(place, angle, heads)
    assert_returns(encoding, image(place), Expected(cos_and_sin=expected))
    assert bool((expected[0, :, : place.extra_tokens] == 1).all())  # extra tokens do not turn
    assert_differs(encoding, image(place), Expected(cos_and_sin=expected.flip(0)))
    assert_differs(encoding, image(place), Expected(cos_and_sin=expected.flip(2)))


@on_every_place
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_products_of_turned_complex_numbers(name: str, place: Place) -> None:
    encoding, given = filled(name, place), image(place)
    angle = angles_of(name, encoding)
    expected = slow_scores(place, angle, given)
    found = scores_of(encoding, given.q, given.k)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
    backwards = slow_scores(place, lambda *at: -angle(*at), given)
    with pytest.raises(AssertionError):  # the comparison above is able to fail
        torch.testing.assert_close(found, backwards, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_score_depends_on_the_offset_only(name: str, grid: tuple[int, int]) -> None:
    place = Place(grid, 0, HEADS * HEAD_DIM, HEADS)
    given = image(place)
    alike = (x[:, :, :1].expand_as(x) for x in (given.q, given.k))  # the same query and the same key everywhere
    scores = scores_of(filled(name, place), *alike)
    by_offset: dict[tuple[int, int], Tensor] = {}
    for (i, query), (j, key) in itertools.product(enumerate(spots(place)), repeat=2):
        assert query is not None
        assert key is not None
        first = by_offset.setdefault((query[0] - key[0], query[1] - key[1]), scores[:, :, i, j])
        torch.testing.assert_close(scores[:, :, i, j], first, rtol=0, atol=TOLERANCE)
    nearest, farthest = by_offset[0, 0], by_offset[grid[0] - 1, grid[1] - 1]
    assert not torch.allclose(nearest, farthest, rtol=0, atol=1e-2)


@on_every_place
def test_the_temperature_sets_the_slowest_turn(place: Place) -> None:
    encoding = filled("rope", place, {"temperature": 10.0})
    assert_returns(encoding, image(place), Expected(cos_and_sin=slow_cos_and_sin(place, axial(10.0), heads=1)))
    assert_differs(encoding, image(place), Expected(cos_and_sin=slow_cos_and_sin(place, axial(30.0), heads=1)))


def test_mixed_frequencies_start_as_axial_ones_in_a_random_direction() -> None:
    frequencies = RoPEMixed(Place((4, 4), 0, HEADS * HEAD_DIM, HEADS)).frequencies
    speeds = frequencies.norm(dim=0)  # [H, d/2]
    quarter = HEAD_DIM // 4
    expected = torch.tensor([10.0 ** -(f / quarter) for f in range(quarter)]).repeat(2).expand(HEADS, -1)
    torch.testing.assert_close(speeds, expected)
    first, second = frequencies.chunk(2, dim=-1)
    torch.testing.assert_close((first * second).sum(dim=0), torch.zeros(HEADS, quarter))  # at right angles


@pytest.mark.parametrize("cls", [RoPE, RoPEMixed])
def test_rope_refuses_what_makes_no_sense(cls: type[RoPE] | type[RoPEMixed]) -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        cls(Place((4, 4), 0, 18, 3))
    with pytest.raises(ValueError, match="temperature must be positive"):
        cls(Place((4, 4), 0, 24, 3), temperature=-1)
