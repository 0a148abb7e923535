"""Strict loading of weights into a library's module of another size."""

import pytest
import torch
from torch import nn

from artifact import Preprocess
from models.sources.base import Overrides, SourceError
from models.sources.library import Library
from models.sources.positions import NOTHING_KNOWN, Positions

HALF = (0.5, 0.5, 0.5)
PREPROCESS = Preprocess(resize=(8, 8), interpolation="bicubic", mean=HALF, std=HALF)


class Linear(Library):
    """A library that builds one linear layer for every size."""

    def build(self, *_: object) -> nn.Module:
        return nn.Linear(2, 3)

    def positions(self, *_: object) -> Positions:
        return NOTHING_KNOWN


class WithTensors(nn.Module):
    """A module that has the given tensors."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for key, tensor in state.items():
            self.register_buffer(key, tensor)


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
def test_a_weight_that_does_not_fit_the_requested_size_is_named(
    change: dict[str, torch.Tensor | None], named: str | None
) -> None:
    trained = nn.Linear(2, 3)
    state = {key: tensor for key, tensor in (trained.state_dict() | change).items() if tensor is not None}
    library = Linear("timm:linear", "timm:linear", trained, PREPROCESS)
    if named is None:
        network, sentences = library.resize(WithTensors(state), None, Overrides(), sized=False)
        assert sentences == ()
        torch.testing.assert_close(network.get_parameter("weight"), trained.weight, rtol=0, atol=0)
        return
    with pytest.raises(SourceError, match=rf"timm:linear.*{named}"):
        library.resize(WithTensors(state), None, Overrides(), sized=False)
