"""Rotary encodings, compared with rotations of complex numbers for each pair of tokens."""

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
    token_positions,
)

NAMES = ["rope", "rope-mixed"]
HALF = HEAD_DIM // 2
DEFAULT_TEMPERATURE = 100.0

Angle = Callable[[int, int, tuple[int, int] | None], float]
"""Angle of rotation as a function of head, pair of channels, and row and column of the token."""


def axial(temperature: float) -> Angle:
    """Return axial angles: the first half of the pairs rotates with the row, the second with the column."""
    quarter = HEAD_DIM // 4
    return lambda _, pair, position: (
        0 if position is None else position[pair // quarter] * temperature ** -(pair % quarter / quarter)
    )


def mixed(encoding: Encoding) -> Angle:
    """Return mixed angles: every pair of every head rotates with row and column."""
    rows, columns = encoding.get_parameter("frequencies")
    return lambda h, f, position: (
        0 if position is None else float(position[0] * rows[h, f] + position[1] * columns[h, f])
    )


def angles_of(name: str, encoding: Encoding) -> Angle:
    return axial(DEFAULT_TEMPERATURE) if name == "rope" else mixed(encoding)


def slow_cos_and_sin(place: Place, angle: Angle, heads: int) -> Tensor:
    """Return cosines and sines [2, 1 or H, N, d], with equal halves of d."""
    rotated = torch.empty(2, heads, place.num_tokens, HEAD_DIM, dtype=torch.float64)
    for head, (i, position), number in itertools.product(
        range(heads), enumerate(token_positions(place)), range(HEAD_DIM)
    ):
        turn = cmath.rect(1, angle(head, number % HALF, position))
        rotated[0, head, i, number], rotated[1, head, i, number] = turn.real, turn.imag
    return rotated


def slow_scores(place: Place, angle: Angle, given: Image) -> Tensor:
    """Return q·k [B, H, N, N] with channels i and i + d/2 rotated as one complex number."""
    q, k = (torch.complex(x[..., :HALF], x[..., HALF:]) for x in (given.q, given.k))
    scores = torch.zeros_like(given.attention)
    everywhere = list(enumerate(token_positions(place)))
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
def test_rope_rotates_by_the_position_of_a_token(name: str, place: Place) -> None:
    encoding = filled(name, place)
    angle, heads = angles_of(name, encoding), 1 if name == "rope" else HEADS
    expected = slow_cos_and_sin(place, angle, heads)
    assert_returns(encoding, image(place), Expected(cos_and_sin=expected))
    assert bool((expected[0, :, : place.extra_tokens] == 1).all())  # extra tokens are not rotated
    assert_differs(encoding, image(place), Expected(cos_and_sin=expected.flip(0)))
    assert_differs(encoding, image(place), Expected(cos_and_sin=expected.flip(2)))


@on_every_place
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_products_of_rotated_complex_numbers(name: str, place: Place) -> None:
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
    repeated = (x[:, :, :1].expand_as(x) for x in (given.q, given.k))  # the same query and the same key everywhere
    scores = scores_of(filled(name, place), *repeated)
    by_offset: dict[tuple[int, int], Tensor] = {}
    for (i, query), (j, key) in itertools.product(enumerate(token_positions(place)), repeat=2):
        assert query is not None
        assert key is not None
        first = by_offset.setdefault((query[0] - key[0], query[1] - key[1]), scores[:, :, i, j])
        torch.testing.assert_close(scores[:, :, i, j], first, rtol=0, atol=TOLERANCE)
    nearest, farthest = by_offset[0, 0], by_offset[grid[0] - 1, grid[1] - 1]
    assert not torch.allclose(nearest, farthest, rtol=0, atol=1e-2)


@on_every_place
def test_the_temperature_sets_the_slowest_rotation(place: Place) -> None:
    encoding = filled("rope", place, {"temperature": 10.0})
    assert_returns(encoding, image(place), Expected(cos_and_sin=slow_cos_and_sin(place, axial(10.0), heads=1)))
    assert_differs(encoding, image(place), Expected(cos_and_sin=slow_cos_and_sin(place, axial(30.0), heads=1)))


def test_mixed_frequencies_are_initialised_as_axial_ones_in_random_directions() -> None:
    frequencies = RoPEMixed(Place((4, 4), 0, HEADS * HEAD_DIM, HEADS)).frequencies
    speeds = frequencies.norm(dim=0)  # [H, d/2]
    quarter = HEAD_DIM // 4
    expected = torch.tensor([10.0 ** -(f / quarter) for f in range(quarter)]).repeat(2).expand(HEADS, -1)
    torch.testing.assert_close(speeds, expected)
    first, second = frequencies.chunk(2, dim=-1)
    torch.testing.assert_close((first * second).sum(dim=0), torch.zeros(HEADS, quarter))  # at right angles


@pytest.mark.parametrize("cls", [RoPE, RoPEMixed])
def test_rope_refuses_invalid_arguments(cls: type[RoPE] | type[RoPEMixed]) -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        cls(Place((4, 4), 0, 18, 3))
    with pytest.raises(ValueError, match="temperature must be positive"):
        cls(Place((4, 4), 0, 24, 3), temperature=-1)
