"""Encodings that act on tokens, and `none`, compared with loops over tokens."""

import math

import pytest
import torch
from torch import Tensor

from models.encodings import Place
from models.encodings.sincos import SinCos
from tests.models.encodings.oracle import (
    Expected,
    assert_differs,
    assert_returns,
    filled,
    image,
    on_every_place,
    token_positions,
)

NAMES = ["learned", "none", "sincos"]


def slow_sincos(place: Place, temperature: float) -> Tensor:
    rows = []
    quarter = place.width // 4
    omega = [temperature ** (-f / quarter) for f in range(quarter)]
    for position in token_positions(place):
        if position is None:
            rows.append([0.0] * place.width)
            continue
        y, x = position
        rows.append([wave(axis * w) for axis in (y, x) for wave in (math.sin, math.cos) for w in omega])
    return torch.tensor(rows, dtype=torch.float64)


@on_every_place
def test_none_adds_nothing(place: Place) -> None:
    assert_returns(filled("none", place), image(place), Expected())


@on_every_place
@pytest.mark.parametrize("temperature", [10_000.0, 20.0])
def test_sincos_matches_the_formula(place: Place, temperature: float) -> None:
    encoding = filled("sincos", place, {"temperature": temperature})
    assert_returns(encoding, image(place), Expected(embedding=slow_sincos(place, temperature)))
    assert_differs(encoding, image(place), Expected(embedding=slow_sincos(place, 2 * temperature)))


@on_every_place
def test_learned_has_a_row_for_every_token_including_extra_ones(place: Place) -> None:
    encoding = filled("learned", place)
    table = encoding.get_parameter("table")
    assert table.shape == (1, place.num_tokens, place.width)
    expected = torch.stack([table[0, number] for number in range(len(token_positions(place)))])
    assert_returns(encoding, image(place), Expected(embedding=expected))
    assert_differs(encoding, image(place), Expected(embedding=expected.flip(0)))


def test_sincos_refuses_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 30"):
        SinCos(Place((4, 4), 0, 30, 3))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        SinCos(Place((4, 4), 0, 24, 3), temperature=0)
