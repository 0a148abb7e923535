"""MLPs over offsets (Swin v2, timm's vit_relpos), compared with loops over pairs of tokens."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.encodings import Encoding, Place
from models.encodings.relpos_mlp import RelPosMLP
from models.encodings.swin_log_cpb import SwinLogCPB
from tests.models.encodings.oracle import (
    Expected,
    assert_differs,
    assert_returns,
    filled,
    image,
    no_bias,
    on_every_place,
    pairs,
)

NAMES = ["relpos-mlp", "swin-log-cpb"]
HIDDEN = 6


def small_network(encoding: Encoding) -> Callable[[float, float], Tensor]:
    """Return the MLP as a plain function from two coordinates to one number per head."""
    weights = dict(encoding.named_parameters())
    last = weights["mlp.2.weight"]
    last_bias = weights.get("mlp.2.bias", torch.zeros(len(last), dtype=torch.float64))

    def g(y: float, x: float) -> Tensor:
        first = zip(weights["mlp.0.weight"], weights["mlp.0.bias"], strict=True)
        hidden = [max(0.0, float(row[0] * y + row[1] * x + shift)) for row, shift in first]
        return torch.stack(
            [
                shift + sum(weight * unit for weight, unit in zip(row, hidden, strict=True))
                for row, shift in zip(last, last_bias, strict=True)
            ]
        )

    return g


def slow_log_cpb(encoding: Encoding, place: Place, window: tuple[int, int]) -> Tensor:
    def spaced(offset: int, side: int) -> float:
        normalised = 8 * offset / max(side - 1, 1)
        return math.copysign(math.log2(1 + abs(normalised)) / math.log2(8), normalised)

    g, bias = small_network(encoding), no_bias(place)
    for i, j, offset in pairs(place):
        if offset is not None:
            coordinates = (spaced(delta, side) for delta, side in zip(offset, window, strict=True))
            bias[:, i, j] = torch.stack([16 / (1 + (-number).exp()) for number in g(*coordinates)])
    return bias


def slow_relpos_mlp(encoding: Encoding, place: Place) -> Tensor:
    g, bias = small_network(encoding), no_bias(place)
    for i, j, offset in pairs(place):
        if offset is not None:
            bias[:, i, j] = g(*(math.copysign(math.log(1 + abs(delta)), delta) for delta in offset))
    return bias


@on_every_place
@pytest.mark.parametrize("pretrained", [None, (8, 3)])
def test_swin_log_cpb_scales_offsets_by_the_window_of_training(
    place: Place, pretrained: tuple[int, int] | None
) -> None:
    encoding = filled("swin-log-cpb", place, {"hidden": HIDDEN, "pretrained_window": pretrained})
    expected = slow_log_cpb(encoding, place, pretrained or place.grid)
    assert_returns(encoding, image(place), Expected(bias=expected))
    assert_differs(encoding, image(place), Expected(bias=expected.mT))
    assert_differs(encoding, image(place), Expected(bias=slow_log_cpb(encoding, place, (20, 20))))


@on_every_place
def test_relpos_mlp_uses_logarithms_of_offsets(place: Place) -> None:
    encoding = filled("relpos-mlp", place, {"hidden": HIDDEN})
    expected = slow_relpos_mlp(encoding, place)
    assert_returns(encoding, image(place), Expected(bias=expected))
    assert_differs(encoding, image(place), Expected(bias=expected.mT))


def test_a_network_without_a_hidden_layer_is_refused() -> None:
    place = Place((4, 4), 0, 24, 3)
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        RelPosMLP(place, hidden=0)
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        SwinLogCPB(place, hidden=0)
    with pytest.raises(ValueError, match="pretrained_window"):
        SwinLogCPB(place, pretrained_window=(0, 8))
