"""Shaw's relative vectors, compared with a loop over pairs of tokens."""

import itertools

import pytest
import torch
from torch import Tensor

from models.encodings import Encoding, Place
from models.encodings.shaw import Shaw
from tests.models.encodings.oracle import (
    HEAD_DIM,
    Expected,
    Image,
    assert_differs,
    assert_returns,
    filled,
    image,
    on_every_place,
)

NAMES = ["shaw-k", "shaw-kv"]


def slow_shaw(encoding: Encoding, place: Place, given: Image, clip: int, direction: int = 1) -> Expected:
    """Return q_i·w^K_clip(j−i) and Σ_j α_ij·w^V_clip(j−i); a `direction` of −1 uses i−j, which is wrong."""
    tables = dict(encoding.named_parameters())
    on_keys, on_values = tables["k.table"], tables.get("v.table")
    assert on_keys.shape == (1, HEAD_DIM, 2 * clip + 1)
    scores = torch.zeros_like(given.attention)
    values: Tensor | None = None if on_values is None else torch.zeros_like(given.q)
    for i, j in itertools.product(range(place.num_tokens), repeat=2):
        distance = direction * (j - i)
        row = max(-clip, min(clip, distance)) + clip
        scores[:, :, i, j] = given.q[:, :, i] @ on_keys[0, :, row]
        if values is not None:
            assert on_values is not None
            assert on_values.shape == (1, 2 * clip + 1, HEAD_DIM)
            values[:, :, i] += given.attention[:, :, i, j, None] * on_values[0, row]
    return Expected(scores=scores, values=values)


@on_every_place
@pytest.mark.parametrize("clip", [1, 4, 16])
@pytest.mark.parametrize("name", NAMES)
def test_shaw_looks_up_the_clipped_distance_in_raster_order(name: str, clip: int, place: Place) -> None:
    encoding, given = filled(name, place, {"clip": clip}), image(place)
    expected = slow_shaw(encoding, place, given, clip)
    assert (expected.values is not None) == (name == "shaw-kv")
    assert_returns(encoding, given, expected)
    wrong = slow_shaw(encoding, place, given, clip, direction=-1)
    assert_differs(encoding, given, Expected(scores=wrong.scores, values=expected.values))
    if expected.values is not None:
        assert_differs(encoding, given, Expected(scores=expected.scores, values=wrong.values))


def test_a_clip_below_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="clip must be at least 1 token, got 0"):
        Shaw(Place((4, 4), 0, 24, 3), on_values=False, clip=0)
