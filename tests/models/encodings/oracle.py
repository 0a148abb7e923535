"""Shared parts of the slow oracles of the encodings: small places, filled tables, and the comparison.

An oracle is a plain loop over tokens, or over pairs of tokens, that knows the formula and nothing of the code under
test. Everything is computed in float64.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from models.encodings import ENCODINGS, Encoding, Place, build_encoding

GRIDS = [(3, 3), (2, 5), (1, 6)]
EXTRA_TOKENS = [0, 1, 2]
HEADS, HEAD_DIM = 3, 8
BATCH = 2

TOLERANCE = 1e-5
"""Fixed numbers such as cosines are kept in float32, so their last digit is off by 1e-7; a wrong one is off by 1e-1."""

on_every_place = pytest.mark.parametrize(
    "place",
    [Place(grid, extra, HEADS * HEAD_DIM, HEADS) for grid in GRIDS for extra in EXTRA_TOKENS],
    ids=lambda place: f"{place.grid[0]}x{place.grid[1]}+{place.extra_tokens}",
)


@dataclass(frozen=True)
class Expected:
    """What an encoding shall return from each method of the protocol; None where it does not act."""

    embedding: Tensor | None = None
    cos_and_sin: Tensor | None = None  # [2, 1 or H, N, d]
    bias: Tensor | None = None
    scores: Tensor | None = None
    values: Tensor | None = None


@dataclass(frozen=True)
class Image:
    """What attention makes of an image: q (already scaled) and k [B, H, N, d], and the attention [B, H, N, N]."""

    q: Tensor
    k: Tensor
    attention: Tensor


def image(place: Place) -> Image:
    """Return random queries and keys, and attention whose rows sum to 1."""
    generator = torch.Generator().manual_seed(1)
    tokens = (BATCH, place.num_heads, place.num_tokens)
    q, k = torch.randn(2, *tokens, place.head_dim, generator=generator, dtype=torch.float64)
    attention = torch.randn(*tokens, place.num_tokens, generator=generator, dtype=torch.float64).softmax(dim=-1)
    return Image(q, k, attention)


def filled(name: str, place: Place, options: Mapping[str, Any] | None = None) -> Encoding:
    """Return an encoding with noise for weights: fresh tables are zero or tiny, and comparing them proves nothing."""
    encoding = build_encoding({name: options or {}}, place, ENCODINGS[name].cls.acts_on).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return encoding.requires_grad_(requires_grad=False)


def spots(place: Place) -> list[tuple[int, int] | None]:
    """Return each token's row and column, None for extra tokens, which come first."""
    return [None] * place.extra_tokens + list(itertools.product(range(place.grid[0]), range(place.grid[1])))


Offset = tuple[int, int]


def pairs(place: Place) -> Iterator[tuple[int, int, Offset | None]]:
    """Yield every query i and key j, and where the query is as seen from the key; None with an extra token."""
    for (i, query), (j, key) in itertools.product(enumerate(spots(place)), repeat=2):
        yield i, j, None if query is None or key is None else (query[0] - key[0], query[1] - key[1])


def no_bias(place: Place) -> Tensor:
    """Return zeros [H, N, N] to be filled."""
    return torch.zeros(place.num_heads, place.num_tokens, place.num_tokens, dtype=torch.float64)


def assert_returns(encoding: Encoding, given: Image, expected: Expected) -> None:
    """Compare all that the protocol has."""
    rotation = encoding.rotation()
    found = Expected(
        encoding.embedding(),
        None if rotation is None else torch.stack(rotation),
        encoding.bias(),
        encoding.scores(given.q, given.k),
        encoding.values(given.attention),
    )
    for method, wanted in vars(expected).items():
        returned = getattr(found, method)
        if wanted is None:
            assert returned is None, f"{method} acts where it should not"
        else:
            assert returned is not None, f"{method} does not act"
            torch.testing.assert_close(returned, wanted, rtol=0, atol=TOLERANCE, msg=(method + ": {}").format)


def assert_differs(encoding: Encoding, given: Image, wrong: Expected) -> None:
    """Show that the comparison can fail."""
    with pytest.raises(AssertionError, match="close"):
        assert_returns(encoding, given, wrong)
