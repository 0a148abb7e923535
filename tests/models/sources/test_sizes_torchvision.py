"""torchvision's ViT and Swin at other sizes than those of training, including oblong images and other windows."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import Tensor, nn
from torchvision.models import swin_transformer, vision_transformer
from torchvision.models._api import BUILTIN_MODELS

from models.sources import Loaded, RandomWeights, SourceError, load_source
from models.sources.base import Overrides
from tests.models.sources.checkpoints.small import load, saved
from tests.models.sources.libraries import logits_of, randomise_library, relative_error

EXACT = 1e-6  # relative to the largest logit; timm resamples in float32


def vit(*, weights: torchvision.models.ViT_B_16_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    sizes = {"image_size": 224, "patch_size": 16, "num_layers": 2, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 100}
    assert weights is None
    network: nn.Module = vision_transformer.VisionTransformer(**sizes | options)
    return network


def swin(*, weights: torchvision.models.Swin_T_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    sizes: dict[str, Any] = {"patch_size": [4, 4], "window_size": [7, 7], "embed_dim": 24, "depths": [2, 2]}
    assert weights is None
    network: nn.Module = swin_transformer.SwinTransformer(**sizes | {"num_heads": [2, 3]} | options)
    return network


def swin_v2(*, weights: torchvision.models.Swin_V2_T_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    assert weights is None
    second = {"block": swin_transformer.SwinTransformerBlockV2, "downsample_layer": swin_transformer.PatchMergingV2}
    return swin(**second | options)


SMALL: dict[str, Callable[..., nn.Module]] = {"small_vit": vit, "small_swin": swin, "small_swin_v2": swin_v2}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register small networks with torchvision."""
    for name, build in SMALL.items():
        monkeypatch.setitem(BUILTIN_MODELS, name, build)


def trained(name: str, **options: Any) -> nn.Module:  # noqa: ANN401
    model = SMALL[name](num_classes=7, **options)
    randomise_library(model)
    return model


def errors(loaded: Loaded, theirs: nn.Module) -> list[float]:
    """Return the largest relative error at batches 1 and 3."""
    images = torch.randn(3, 3, *loaded.image_size, generator=torch.Generator().manual_seed(3))
    network, expected = loaded.network.double(), theirs.double().eval()
    doubled = images.double()
    return [relative_error(logits_of(network, doubled[:n]), logits_of(expected, doubled[:n])) for n in (1, 3)]


def test_a_vit_at_another_square_size_equals_torchvisions(tmp_path: Path) -> None:
    model = trained("small_vit", image_size=64)
    theirs = SMALL["small_vit"](num_classes=7, image_size=96)
    key = "encoder.pos_embedding"
    theirs.load_state_dict(
        model.state_dict() | {key: resample_abs_pos_embed(model.state_dict()[key], [6, 6], [4, 4], num_prefix_tokens=1)}
    )
    file = saved(model.state_dict(), tmp_path / "x")
    loaded = load("torchvision:small_vit", file, trained_image_size=(64, 64), image_size=(96, 96))
    assert max(errors(loaded, theirs)) < EXACT
    assert (loaded.encoding, loaded.num_classes, loaded.image_size) == ("learned", 7, (96, 96))
    assert loaded.resampled == ("position embedding from 4×4 to 6×6 tokens, bicubic with antialiasing",)
    with torch.no_grad():
        theirs.get_parameter(key).zero_()
    assert max(errors(loaded, theirs)) > 100 * EXACT  # the comparison is able to fail


def test_a_vit_accepts_oblong_images_which_torchvision_itself_refuses(tmp_path: Path) -> None:
    model = trained("small_vit", image_size=64)
    file = saved(model.state_dict(), tmp_path / "x")
    loaded = load("torchvision:small_vit", file, trained_image_size=(64, 64), image_size=(48, 80))
    images = torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))
    with pytest.raises(AssertionError, match="Wrong image height"):
        model(images)
    with torch.no_grad():  # the steps of torchvision's forward
        patches = [model.conv_proj(images)[:, :, row, column] for row in range(3) for column in range(5)]  # type: ignore[operator]
        tokens = torch.stack([model.class_token.expand(2, -1, -1)[:, 0], *patches], dim=1)  # type: ignore[operator]
        encoder: Any = copy.deepcopy(model.encoder)
        encoder.pos_embedding = nn.Parameter(
            resample_abs_pos_embed(encoder.pos_embedding, [3, 5], [4, 4], num_prefix_tokens=1)
        )
        expected = model.heads(encoder(tokens)[:, 0])  # type: ignore[operator]
        assert relative_error(loaded.network(images), expected) < 1e-5
        assert relative_error(loaded.network(images.flip(3)), expected) > 1e-3  # the comparison is able to fail


def test_a_vit_of_patches_that_do_not_divide_the_image_is_refused(tmp_path: Path) -> None:
    file = saved(trained("small_vit", image_size=64).state_dict(), tmp_path / "x")
    with pytest.raises(SourceError, match="72×72 is not a multiple of its patch size 16"):
        load("torchvision:small_vit", file, trained_image_size=(64, 64), image_size=(72, 72))
    with pytest.raises(SourceError, match="torchvision builds it for square images, not 64×48"):
        load("torchvision:small_vit", file, trained_image_size=(64, 48))


def test_the_keys_of_published_files_are_accepted(tmp_path: Path) -> None:
    model = trained("small_vit")
    published = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for key, tensor in model.state_dict().items()
    }
    assert published.keys() != model.state_dict().keys()
    loaded = load("torchvision:small_vit", saved(published, tmp_path / "x"))
    assert max(errors(loaded, model)) == 0


@pytest.mark.slow
def test_tables_of_windows_are_resampled_and_images_may_have_any_size(tmp_path: Path) -> None:
    model = trained("small_swin")
    file = saved(model.state_dict(), tmp_path / "x")
    theirs = SMALL["small_swin"](num_classes=7, window_size=[6, 6])
    state = {
        key: resize_rel_pos_bias_table_simple(tensor, (6, 6), (11 * 11, tensor.shape[1])) if "table" in key else tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith("_index")
    }
    assert theirs.load_state_dict(state, strict=False).unexpected_keys == []
    loaded = load("torchvision:small_swin", file, trained_image_size=(56, 56), image_size=(96, 48), window_size=6)
    assert max(errors(loaded, theirs)) < EXACT
    assert loaded.resampled == ("relative position tables of stage 0, 1 from 7×7 to 6×6 windows, bicubic",)
    larger = load("torchvision:small_swin", file, trained_image_size=(56, 56), image_size=(112, 60))
    assert max(errors(larger, model)) == 0
    assert larger.resampled == ()


def bias_of(attention: Any, window: int, unit: int) -> Tensor:  # noqa: ANN401 -- torchvision's
    """Return the bias [H, N, N] of version 2: 16·sigmoid of its MLP at offsets in windows of `unit` tokens."""
    tokens = [(row, column) for row in range(window) for column in range(window)]
    bias = torch.empty(attention.num_heads, len(tokens), len(tokens), dtype=torch.float64)
    for i, (y, x) in enumerate(tokens):
        for j, (v, u) in enumerate(tokens):
            offset = torch.tensor([y - v, x - u], dtype=torch.float64) * 8 / (unit - 1)
            coordinates = offset.sign() * torch.log2(offset.abs() + 1) / 3
            bias[:, i, j] = 16 * torch.sigmoid(attention.cpb_mlp(coordinates))
    return bias


def test_the_bias_of_version_2_is_evaluated_in_units_of_the_windows_of_training(tmp_path: Path) -> None:
    model = trained("small_swin_v2", window_size=[4, 4])
    file = saved(model.state_dict(), tmp_path / "x")
    stated: dict[str, Any] = {"trained_image_size": (64, 64), "trained_window_size": 4}
    loaded = load("torchvision:small_swin_v2", file, image_size=(96, 64), window_size=3, **stated)
    assert loaded.resampled == (
        "relative position bias of stage 0, 1 from 4×4 to 3×3 windows, recomputed from the windows of training",
    )
    attention: Any = loaded.network.double().get_submodule("features.1.1.attn")
    assert (attention.window_size, attention.shift_size) == ([3, 3], [1, 1])
    with torch.no_grad():
        found = attention.get_relative_position_bias()[0]
        torch.testing.assert_close(found, bias_of(attention, 3, unit=4), rtol=0, atol=1e-5)  # offsets are float32
        with pytest.raises(AssertionError):  # the comparison is able to fail
            torch.testing.assert_close(found, bias_of(attention, 3, unit=3), rtol=0, atol=1e-5)


def test_random_weights_accept_any_size() -> None:
    for name, overrides in (("small_vit", Overrides((48, 80))), ("small_swin", Overrides((60, 100), window_size=5))):
        loaded = load_source(f"torchvision:{name}", RandomWeights(0), overrides)
        images = torch.randn(2, 3, *loaded.image_size)
        assert logits_of(loaded.network, images).isfinite().all()
    with pytest.raises(SourceError, match="no window size"):
        load_source("torchvision:small_vit", RandomWeights(0), Overrides(window_size=5))
