"""Weights that go into a library's module at other sizes are loaded strictly."""

import pytest
import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Overrides, SourceError
from models.sources.library import Found, load_resized
from models.sources.positions import NOTHING_KNOWN

HALF = (0.5, 0.5, 0.5)
PREPROCESS = Preprocess(resize=(8, 8), interpolation="bicubic", mean=HALF, std=HALF)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bias": None}, "bias"),
        ({"scale": torch.ones(3)}, "scale"),
        ({"weight": torch.ones(3, 5)}, "weight"),
        ({}, None),
    ],
    ids=["missing", "unexpected", "another shape", "all there"],
)
def test_a_weight_that_does_not_fit_at_the_size_wanted_is_named(
    change: dict[str, torch.Tensor | None], named: str | None
) -> None:
    network, trained = nn.Linear(2, 3), nn.Linear(2, 3)
    found = Found("timm:linear", "timm:linear", trained, PREPROCESS, None)
    state = {key: tensor for key, tensor in (trained.state_dict() | change).items() if tensor is not None}
    both = (NOTHING_KNOWN, NOTHING_KNOWN)
    if named is None:
        assert load_resized(found, network, state, both, Overrides()) == ()
        torch.testing.assert_close(network.weight, trained.weight, rtol=0, atol=0)
        return
    with pytest.raises(SourceError, match=rf"timm:linear.*{named}"):
        load_resized(found, network, state, both, Overrides())
