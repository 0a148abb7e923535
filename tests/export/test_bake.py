"""Inference forms give the network's answer, and hold nothing that the image does not need."""

import copy

import pytest
import torch
from torch import Tensor, nn

from export.bake import NativeForm, Normalisation, bake
from export.errors import ExportError
from export.parity import normalise
from models import SwinConfig, ViTConfig, build_network
from models.encodings import Encoding
from models.sources.weights import randomise
from tests.models.networks import SWIN, VIT_CLS, VIT_MEAN

TOLERANCE = 1e-5  # of the largest logit: the forms compute in float32
PIXELS = Normalisation(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
IRPE = {"irpe-product-contextual-k": {"ratio": 1.0, "shared": False}}
IRPE_QKV = {"irpe-product-contextual-qkv": {"ratio": 1.0}}
THREE_STAGES = {"image_size": (64, 64), "depths": (3, 2, 1), "num_heads": (2, 4, 8), "window_size": 4}
SWIN_V2 = SWIN.model_copy(update={"version": 2, "encodings": {"swin-log-cpb": {}}})

NETWORKS: dict[str, ViTConfig | SwinConfig] = {
    "vit none": VIT_MEAN,
    "vit none, cls": VIT_CLS,
    "vit sincos": VIT_MEAN.model_copy(update={"encodings": {"sincos": {}}}),
    "vit learned, cls": VIT_CLS.model_copy(update={"encodings": {"learned": {}}}),
    "vit swin-table": VIT_MEAN.model_copy(update={"encodings": {"swin-table": {}}}),
    "vit irpe, cls": VIT_CLS.model_copy(update={"encodings": IRPE}),
    "vit learned + irpe, cls": VIT_CLS.model_copy(update={"encodings": {"learned": {}} | IRPE}),
    "swin none": SWIN.model_copy(update={"encodings": {}}),
    "swin swin-table": SWIN,
    "swin learned + irpe": SWIN.model_copy(update={"encodings": {"learned": {}} | IRPE}),
    "swin of three stages": SWIN.model_copy(update=THREE_STAGES),
    "swin v2 none": SWIN_V2.model_copy(update={"encodings": {}}),
    "swin v2 swin-log-cpb": SWIN_V2,
    "swin v2 of three stages": SWIN_V2.model_copy(update=THREE_STAGES),
    "swin v2 rope-mixed": SWIN_V2.model_copy(update={"encodings": {"rope-mixed": {}}}),
    "vit learned + irpe on all, cls": VIT_CLS.model_copy(update={"encodings": {"learned": {}} | IRPE_QKV}),
    "vit learned + rope, cls": VIT_CLS.model_copy(update={"encodings": {"learned": {}, "rope": {}}}),
}


def network_of(config: ViTConfig | SwinConfig) -> nn.Module:
    network = build_network(config).eval()
    randomise(network, seed=3)
    return network


def pixels_for(config: ViTConfig | SwinConfig, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, *config.image_size, 3), dtype=torch.uint8, generator=generator)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_forms_give_the_networks_logits(name: str, batch: int) -> None:
    config = NETWORKS[name]
    network = network_of(config)
    pixels = pixels_for(config, batch)
    normalised = normalise(pixels, PIXELS)
    on_pixels, _ = bake(network, PIXELS)
    on_floats, _ = bake(network, None)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(normalised)
        assert relative_error(on_pixels(pixels), expected) < TOLERANCE
        assert relative_error(on_floats(normalised.float()), expected) < TOLERANCE


@pytest.mark.parametrize("name", [name for name in NETWORKS if "none" not in name])
def test_the_comparison_above_notices_a_table_of_zeros(name: str) -> None:
    config = NETWORKS[name]
    network = network_of(config)
    pixels = pixels_for(config, 2)
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(normalise(pixels, PIXELS))
        for module in network.modules():
            if isinstance(module, Encoding):
                for tensor in (*module.parameters(), *module.buffers()):
                    tensor.zero_()
        form, _ = bake(network, PIXELS)
        assert relative_error(form(pixels), expected) > 100 * TOLERANCE


def test_baked_constants_ignore_later_training_steps() -> None:
    network = network_of(SWIN)
    form, _ = bake(network, PIXELS)
    pixels = pixels_for(SWIN, 2)
    with torch.no_grad():
        before = form(pixels)
        for parameter in network.parameters():
            parameter.add_(1.0)
        assert torch.equal(form(pixels), before)
        with pytest.raises(AssertionError):  # the comparison above is able to fail
            assert torch.equal(bake(network, PIXELS)[0](pixels), before)


def test_baking_leaves_the_network_as_it_was() -> None:
    network = network_of(SWIN)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    bake(network, PIXELS)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_report_names_what_is_static_and_what_depends_on_the_query() -> None:
    _, report = bake(network_of(NETWORKS["swin learned + irpe"]), PIXELS)
    lines = {(line.module, line.kind): line for line in report}
    assert lines["position", "static"].shape == (8 * 16, 16)
    first, shifted = "stages.0.blocks.0.attention.encoding", "stages.0.blocks.1.attention.encoding"
    assert (first, "static") not in lines
    assert lines[first, "query-dependent"].shape == (2, 8, 25)
    assert lines[shifted, "static"].shape == (1, 8 * 2, 16, 16)  # the shift mask
    assert lines[shifted, "static"].bytes == 8 * 2 * 16 * 16 * 4
    assert "shift mask" in lines[shifted, "static"].what
    assert ("stages.0.blocks.1", "static") in lines  # the token order


def test_the_report_says_what_of_the_scores_and_values_is_left() -> None:
    _, report = bake(network_of(NETWORKS["vit learned + irpe on all, cls"]), PIXELS)
    kinds = [(line.module, line.kind, line.what) for line in report if line.module != "position"]
    assert [(module, kind) for module, kind, _ in kinds] == [
        (f"blocks.{block}.attention.encoding", "query-dependent") for block in (0, 1)
    ]
    assert all("queries or keys" in what and "image's attention" in what for _, _, what in kinds)


@pytest.mark.parametrize(("name", "heads"), [("rope", 1), ("rope-mixed", 8 * 2)])
def test_angles_are_one_constant_for_all_windows(name: str, heads: int) -> None:
    form, report = bake(network_of(SWIN.model_copy(update={"encodings": {name: {}}})), PIXELS)
    lines = [line for line in report if line.module == "stages.0.blocks.0.attention.encoding"]
    assert [(line.kind, line.shape, line.bytes) for line in lines] == [
        ("static", (heads, 16, 8), 2 * heads * 16 * 8 * 4)
    ]
    assert "cosines and sines" in lines[0].what
    shapes = {key: tuple(buffer.shape) for key, buffer in form.named_buffers() if "blocks.0.attention" in key}
    assert shapes["stages.0.blocks.0.attention.cos"] == shapes["stages.0.blocks.0.attention.sin"] == (heads, 16, 8)
    assert not any("frequencies" in key for key, _ in form.named_parameters())


def test_cosine_attention_scales_by_at_most_a_hundred() -> None:
    network = network_of(SWIN_V2)
    pixels = pixels_for(SWIN_V2, 2)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("logit_scale"):
                parameter.fill_(6.0)  # e⁶ = 403
        expected = copy.deepcopy(network).double()(normalise(pixels, PIXELS))
        form, _ = bake(network, PIXELS)
        # Scores reach 100, so float32 itself, the network's own forward included, is off by 2e-5.
        assert relative_error(form(pixels), expected) < 10 * TOLERANCE
    scales = [buffer for key, buffer in form.named_buffers() if key.endswith("logit_scale")]
    assert len(scales) == 4
    assert all(torch.equal(scale, torch.full_like(scale, 100.0)) for scale in scales)


def test_bias_and_shift_mask_are_one_constant() -> None:
    _, report = bake(network_of(SWIN), PIXELS)
    of_scores = [line for line in report if line.module.endswith("encoding")]
    assert [line.module for line in of_scores] == [
        f"stages.{stage}.blocks.{block}.attention.encoding" for stage in (0, 1) for block in (0, 1)
    ]
    assert ["mask" in line.what for line in of_scores] == [False, True, False, True]


def test_a_form_holds_no_table_that_it_does_not_need() -> None:
    form, _ = bake(network_of(SWIN), PIXELS)
    assert not any("table" in name or "index" in name for name, _ in form.named_parameters())
    orders = [name for name, buffer in form.named_buffers() if buffer.dtype == torch.int64]
    assert orders == ["stages.0.blocks.1.order.index", "stages.1.order.index", "stages.1.blocks.1.order.index"]


def test_a_network_in_train_mode_is_refused() -> None:
    with pytest.raises(ExportError, match=r"\.eval\(\)"):
        bake(network_of(SWIN).train(), PIXELS)


def test_a_network_without_an_inference_form_is_taken_as_it_is_and_nothing_said_of_it_yet() -> None:
    network = nn.Flatten().eval()
    form, report = bake(network, None)
    assert isinstance(form, NativeForm)
    assert form.network is network
    assert report == ()
