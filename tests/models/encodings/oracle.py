"""Shared parts of the encodings' oracles: small grids, random tables, and the comparison.

An oracle is a plain loop over tokens or pairs of tokens, in float64, that implements the formula independently of the
code under test.
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
"""Fixed numbers such as cosines are stored in float32 and differ by 1e-7; wrong ones differ by 1e-1."""

on_every_place = pytest.mark.parametrize(
    "place",
    [Place(grid, extra, HEADS * HEAD_DIM, HEADS) for grid in GRIDS for extra in EXTRA_TOKENS],
    ids=lambda place: f"{place.grid[0]}x{place.grid[1]}+{place.extra_tokens}",
)


@dataclass(frozen=True)
class Expected:
    """Expected result of each method of an encoding; None for methods that must not act."""

    embedding: Tensor | None = None
    cos_and_sin: Tensor | None = None  # [2, 1 or H, N, d]
    bias: Tensor | None = None
    scores: Tensor | None = None
    values: Tensor | None = None


@dataclass(frozen=True)
class Image:
    """Queries (already scaled) and keys [B, H, N, d] of an image, and its attention weights [B, H, N, N]."""

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
    """Return an encoding with random weights; fresh tables are zero or too small for a comparison."""
    encoding = build_encoding({name: options or {}}, place, ENCODINGS[name].cls.acts_on).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in encoding.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return encoding.requires_grad_(requires_grad=False)


def token_positions(place: Place) -> list[tuple[int, int] | None]:
    """Return the row and column of each token; None for extra tokens, which come first."""
    return [None] * place.extra_tokens + list(itertools.product(range(place.grid[0]), range(place.grid[1])))


Offset = tuple[int, int]


def pairs(place: Place) -> Iterator[tuple[int, int, Offset | None]]:
    """Yield every query i and key j with their offset, query minus key; None for extra tokens."""
    for (i, query), (j, key) in itertools.product(enumerate(token_positions(place)), repeat=2):
        yield i, j, None if query is None or key is None else (query[0] - key[0], query[1] - key[1])


def no_bias(place: Place) -> Tensor:
    """Return a bias of zeros [H, N, N]."""
    return torch.zeros(place.num_heads, place.num_tokens, place.num_tokens, dtype=torch.float64)


def assert_returns(encoding: Encoding, given: Image, expected: Expected) -> None:
    """Compare the result of every method with the expected one."""
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
            assert returned is None, f"{method} returns a value, expected None"
        else:
            assert returned is not None, f"{method} returns None, expected a value"
            torch.testing.assert_close(returned, wanted, rtol=0, atol=TOLERANCE, msg=(method + ": {}").format)


def assert_differs(encoding: Encoding, given: Image, wrong: Expected) -> None:
    """Check that the comparison fails for a wrong expectation."""
    with pytest.raises(AssertionError, match="close"):
        assert_returns(encoding, given, wrong)
