"""Every option of the ViT has an inference form that gives the network's answer."""

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from artifact import Batch
from export.bake import Normalisation, bake
from export.graph import build_graph, describe_graph
from export.parity import normalise
from models import ViTConfig, build_network
from models.sources.weights import randomise
from tests.models.networks import VIT_CLS

TOLERANCE = 1e-5  # of the largest logit: the forms compute in float32
PIXELS = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
LEARNED: dict[str, Any] = {"encodings": {"learned": {}}}
CONTEXTUAL: dict[str, Any] = {"encodings": {"learned": {}, "irpe-product-contextual-qkv": {"shared": False}}}

OPTIONS: dict[str, dict[str, Any]] = {
    "distilled": {"pool": "distilled"} | LEARNED,
    "registers": {"registers": 3} | LEARNED,
    "registers without cls": {"pool": "mean", "registers": 2} | CONTEXTUAL,
    "distilled with registers": {"pool": "distilled", "registers": 1} | CONTEXTUAL,
    "layer scale": {"layer_scale": True} | CONTEXTUAL,
    "mean beside cls": {"pool": "mean", "cls_token": True, "encodings": {"beit-table": {}}},
    "norm after pooling": {"pool": "mean", "norm_after_pool": True, "encodings": {"relpos-mlp": {}}},
    "norm after pooling, beside cls": {"pool": "mean", "cls_token": True, "norm_after_pool": True} | LEARNED,
    "no biases of q, k, v": {"qkv_bias": False, "encodings": {"rope": {}}, "num_heads": 2},
    "norm before the blocks": {"embed_norm": True} | LEARNED,
    "norm before the blocks, mean": {"embed_norm": True, "pool": "mean"} | LEARNED,
    "norms after": {"post_norm": True} | CONTEXTUAL,
    "as BEiT": {
        "pool": "mean",
        "cls_token": True,
        "norm_after_pool": True,
        "layer_scale": True,
        "encodings": {"beit-table": {}},
    },
    "as DINOv2 with registers": {"registers": 4, "layer_scale": True} | LEARNED,
}


def config_of(**options: object) -> ViTConfig:
    return ViTConfig.model_validate(VIT_CLS.model_dump() | options)


def network_of(config: ViTConfig) -> nn.Module:
    network = build_network(config).eval()
    randomise(network, seed=3)
    return network


def logits_in_double(network: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(network).double()(normalise(pixels, PIXELS))
    return logits


def pixels_for(batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, *VIT_CLS.image_size, 3), dtype=torch.uint8, generator=generator)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", OPTIONS)
def test_the_forms_give_the_networks_logits(name: str) -> None:
    network = network_of(config_of(**OPTIONS[name]))
    on_pixels, _ = bake(network, PIXELS)
    on_floats, _ = bake(network, None)
    for batch in (1, 2, 3, 7):
        pixels = pixels_for(batch)
        expected = logits_in_double(network, pixels)
        assert relative_error(on_pixels(pixels), expected) < TOLERANCE
        assert relative_error(on_floats(normalise(pixels, PIXELS).float()), expected) < TOLERANCE


@pytest.mark.parametrize("name", OPTIONS)
def test_every_parameter_reaches_the_logits_of_network_and_form(name: str) -> None:
    network = network_of(config_of(**OPTIONS[name]))
    pixels = pixels_for(2)
    before = logits_in_double(network, pixels)
    for key, parameter in network.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
            after = logits_in_double(network, pixels)
            form, _ = bake(network, PIXELS)
            # What an encoding adds to all scores of a query alike, softmax takes out again.
            assert "encoding" in key or relative_error(before, after) > 100 * TOLERANCE, key
            assert relative_error(form(pixels), after) < TOLERANCE, key
            parameter.copy_(kept)


def test_a_graph_of_all_options_has_a_dynamic_batch_and_nothing_constant_left() -> None:
    everything = {"pool": "distilled", "registers": 1, "layer_scale": True, "embed_norm": True} | CONTEXTUAL
    for options in (everything, OPTIONS["as BEiT"]):
        form, _ = bake(network_of(config_of(depth=1, **options)), PIXELS)
        graph = describe_graph(build_graph(form, pixels_for(2), Batch(min=1, max=8), opset=20).model)
        assert graph.constant_only_nodes == 0
        assert "Shape" not in graph.ops
        assert "Expand" not in graph.ops


def test_layer_scale_costs_nothing_in_the_form() -> None:
    plain, scaled = (bake(network_of(config_of(layer_scale=there)), PIXELS)[0] for there in (False, True))
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in scaled.named_parameters()]
    assert [name for name, _ in plain.named_buffers()] == [name for name, _ in scaled.named_buffers()]


def test_two_heads_cost_one_product_in_the_form() -> None:
    form, _ = bake(network_of(config_of(pool="distilled")), PIXELS)
    assert form.get_parameter("head.classify.weight").shape == (2 * VIT_CLS.width, VIT_CLS.num_classes)


def test_extra_tokens_are_counted() -> None:
    assert config_of().extra_tokens == 1
    assert config_of(pool="mean").extra_tokens == 0
    assert config_of(pool="mean", cls_token=True).extra_tokens == 1
    assert config_of(pool="distilled", registers=4).extra_tokens == 6


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="reads a CLS token, but cls_token is false"):
        config_of(pool="distilled", cls_token=False)
    with pytest.raises(ValidationError, match="choose one of them"):
        config_of(post_norm=True, layer_scale=True)


def test_options_left_alone_change_no_keys() -> None:
    keys = network_of(config_of()).state_dict().keys()
    assert not any(word in key for key in keys for word in ("gamma", "distillation", "register", "embed_norm"))
    assert "cls_token" in keys
