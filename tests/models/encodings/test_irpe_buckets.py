"""iRPE's buckets, compared with loops over pairs of tokens."""

import itertools
import math
from typing import Any

import pytest
import torch

from models.encodings import Place
from models.encodings.irpe_buckets import IndexFunction, Mapping, Quantization, irpe_buckets
from tests.models.encodings.irpe_oracle import FORMS, RANKS, slow_buckets
from tests.models.encodings.oracle import EXTRA_TOKENS, GRIDS

LIMITS = [(1.9, 3.8, 15.2), (1.0, 2.0, 8.0), (2.5, 5.0, 20.0), (3.0, 4.0, 9.5)]


@pytest.mark.parametrize("extra", EXTRA_TOKENS)
@pytest.mark.parametrize("grid", [*GRIDS, (7, 1), (7, 6), (1, 40)])
@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_each_pair_is_in_its_bucket(
    form: tuple[Mapping, IndexFunction, Quantization], grid: tuple[int, int], extra: int
) -> None:
    mapping, function, quantization = form
    place = Place(grid, extra, width=24, num_heads=3)
    for limits in LIMITS:
        expected = slow_buckets(place, mapping, function, limits, quantization)
        found = irpe_buckets(mapping, place, function, limits, quantization)
        assert {part: (buckets.index.tolist(), buckets.count) for part, buckets in found.items()} == expected


def test_no_two_forms_are_the_same() -> None:  # so the comparison above is able to fail
    place = Place((5, 6), 1, width=24, num_heads=3)
    limits = (2.5, 5.0, 20.0)  # with a β below 4, ranks and squares end in the same buckets
    forms = [
        str(slow_buckets(place, mapping, function, limits, quantization)) for mapping, function, quantization in FORMS
    ]
    assert len(set(forms)) == len(FORMS)
    transposed = irpe_buckets("product", place, "piecewise", limits)["product"].index.T
    assert transposed.tolist() != slow_buckets(place, "product", "piecewise", limits)["product"][0]


def test_the_papers_ranks_are_reproduced() -> None:
    assert [RANKS[math.sqrt(squared)] for squared in (0, 1, 2, 4, 5, 8, 9)] == [0, 1, 2, 3, 4, 5, 6]
    place = Place((1, 4), 0, width=24, num_heads=3)
    ranked = irpe_buckets("quantization", place, "clip", (20.0, 20.0, 40.0))["quantization"]
    assert (ranked.index[0] - 20).tolist() == [0, 1, 3, 6]


def test_all_extra_tokens_share_the_last_bucket_rows_and_columns() -> None:
    for form, extra in itertools.product(FORMS, (1, 2)):
        mapping, function, quantization = form
        place = Place((3, 5), extra, width=24, num_heads=3)
        for part in irpe_buckets(mapping, place, function, LIMITS[0], quantization).values():
            others = part.index[extra:, extra:]
            assert int(others.max()) < part.count - 1
            outside = torch.ones_like(part.index, dtype=torch.bool)
            outside[extra:, extra:] = False
            assert set(part.index[outside].tolist()) == {part.count - 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("polar", "piecewise", LIMITS[0]), "unknown mapping 'polar'; known: euclidean, quantization, cross, product"),
        (("product", "linear", LIMITS[0]), "unknown index function 'linear'; known: piecewise, clip"),
        (("quantization", "clip", LIMITS[0], "cubed"), "unknown quantization 'cubed'; known: ranked, squared"),
        (("product", "piecewise", (0.2, 0.4, 1.6)), "beta must be at least 1"),
        (("product", "piecewise", (3.0, 2.0, 8.0)), "piecewise needs 0 < alpha <= beta"),
    ],
)
def test_invalid_arguments_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    mapping, *rest = arguments
    with pytest.raises(ValueError, match=message):
        irpe_buckets(mapping, Place((3, 5), 1, 24, 3), *rest)
