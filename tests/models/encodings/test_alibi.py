"""2-D ALiBi, compared with a loop over pairs of tokens."""

import math

from torch import Tensor

from models.encodings import Place
from tests.models.encodings.oracle import (
    HEADS,
    Expected,
    assert_differs,
    assert_returns,
    filled,
    image,
    no_bias,
    on_every_place,
    pairs,
)

NAMES = ["alibi-2d"]


def slow_alibi(place: Place) -> Tensor:
    bias = no_bias(place)
    for i, j, offset in pairs(place):
        for head in range(HEADS):
            bias[head, i, j] = 0 if offset is None else -math.hypot(*offset) / 2 ** (8 * (head + 1) / HEADS)
    return bias


@on_every_place
def test_alibi_lowers_scores_by_the_distance_of_tokens(place: Place) -> None:
    encoding, expected = filled("alibi-2d", place), slow_alibi(place)
    assert_returns(encoding, image(place), Expected(bias=expected))
    assert_differs(encoding, image(place), Expected(bias=expected.flip(0)))  # the heads in another order
    assert_differs(encoding, image(place), Expected(bias=expected.flip(2)))  # the keys in another order
