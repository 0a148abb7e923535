"""Options of the ViT: each changes the network."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import ViTConfig, build_network
from models.sources.own import randomise
from tests.models.networks import VIT_CLS

SMALLEST_EFFECT = 1e-3  # relative to the largest logit
LEARNED: dict[str, Any] = {"encodings": {"learned": {}}}

OPTIONS: dict[str, dict[str, Any]] = {
    "distilled with registers": {"pool": "distilled", "registers": 1} | LEARNED,
    "registers without cls": {"pool": "mean", "registers": 2} | LEARNED,
    "without biases of q, k, v": {"qkv_bias": False} | LEARNED,
}


def config_of(**options: object) -> ViTConfig:
    return ViTConfig.model_validate(VIT_CLS.model_dump() | options)


def network_of(config: ViTConfig) -> nn.Module:
    network = build_network(config).eval()
    randomise(network, seed=3)
    return network


def logits_of(network: nn.Module) -> Tensor:
    images = torch.randn(2, 3, *VIT_CLS.image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(network).double()(images.double())
    return logits


@pytest.mark.parametrize("name", OPTIONS)
def test_every_parameter_affects_the_logits(name: str) -> None:
    network = network_of(config_of(**OPTIONS[name]))
    before = logits_of(network)
    for key, parameter in network.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
            after = logits_of(network)
            parameter.copy_(kept)
        assert float((after - before).abs().max() / before.abs().max()) > SMALLEST_EFFECT, key


def test_extra_tokens_are_counted() -> None:
    assert config_of().extra_tokens == 1
    assert config_of(pool="mean").extra_tokens == 0
    assert config_of(pool="distilled", registers=4).extra_tokens == 6


def test_default_options_add_no_keys() -> None:
    keys = network_of(config_of()).state_dict().keys()
    assert not any(word in key for key in keys for word in ("distillation", "register"))
    assert "cls_token" in keys
