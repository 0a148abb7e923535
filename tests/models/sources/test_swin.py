"""Swin v1 and v2 of every library against our network with the same weights: its own forward is the oracle."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from transformers import SwinConfig as TheirSwinConfig
from transformers import SwinForImageClassification, Swinv2Config, Swinv2ForImageClassification

from models import SwinConfig, build_network
from models.sources import Overrides, SourceError
from models.sources.families import Family, swin
from models.sources.families.swin_sizes import SwinResizer
from models.sources.weights import load_strictly
from tests.models.sources.libraries import (
    beyond_the_limit,
    in_ours,
    logits_of,
    relative_error,
    scramble,
    without_tables,
)

# What 1e-5 of the largest logit leaves to float32 is rounding; in float64 the same is far smaller.
TOLERANCE, EXACT = 1e-5, 1e-12

SMALL: dict[str, Any] = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3), "num_classes": 10}
TV: dict[str, Any] = {
    "patch_size": [4, 4],
    "window_size": [4, 4],
    "embed_dim": 24,
    "depths": [2, 2],
    "num_heads": [2, 3],
    "num_classes": 10,
}
HF: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 3], "num_labels": 10, "image_size": 64}


def timm_model(name: str, **changes: object) -> nn.Module:
    model: nn.Module = timm.create_model(name, **(SMALL | {"img_size": 64, "window_size": 4} | changes))
    return model


CASES: dict[str, tuple[Family, tuple[int, int], Callable[[], nn.Module]]] = {
    "timm v1": (swin.from_timm, (64, 64), lambda: timm_model("swin_tiny_patch4_window7_224")),
    "timm v1, oblong, a window for each stage": (
        swin.from_timm,
        (64, 96),
        lambda: timm_model("swin_s3_tiny_224", img_size=(64, 96), window_size=((8, 8), (4, 4))),
    ),
    "timm v1, window covers the last grid": (
        swin.from_timm,
        (64, 64),
        lambda: timm_model("swin_tiny_patch4_window7_224", window_size=16),
    ),
    "timm v2": (swin.from_timm, (64, 64), lambda: timm_model("swinv2_tiny_window8_256")),
    "timm v2, from smaller windows": (
        swin.from_timm,
        (64, 64),
        lambda: timm_model("swinv2_base_window12to24_192to384", window_size=16, pretrained_window_sizes=(6, 3)),
    ),
    "torchvision v1": (swin.from_torchvision, (64, 64), lambda: SwinTransformer(**TV)),
    "torchvision v2": (
        swin.from_torchvision,
        (64, 64),
        lambda: SwinTransformer(**TV, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    ),
    "transformers v1": (
        swin.from_transformers,
        (64, 64),
        lambda: SwinForImageClassification(TheirSwinConfig(window_size=4, **HF)),
    ),
    "transformers v1, no bias": (
        swin.from_transformers,
        (64, 64),
        lambda: SwinForImageClassification(TheirSwinConfig(window_size=8, qkv_bias=False, **HF)),
    ),
    "transformers v2": (
        swin.from_transformers,
        (64, 64),
        lambda: Swinv2ForImageClassification(Swinv2Config(window_size=4, pretrained_window_sizes=[0, 0], **HF)),
    ),
    "transformers v2, from smaller windows": (
        swin.from_transformers,
        (64, 64),
        lambda: Swinv2ForImageClassification(Swinv2Config(window_size=16, pretrained_window_sizes=[6, 3], **HF)),
    ),
}


def images_of(size: tuple[int, int], batch: int) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_librarys(case: str) -> None:
    family, size, build = CASES[case]
    theirs = scramble(build(), seed=1)
    ours = in_ours(theirs, family, size)
    for batch in (1, 2, 3):
        images = images_of(size, batch)
        assert relative_error(logits_of(ours, images), logits_of(theirs, images)) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_logits_are_exactly_the_librarys_even_where_scales_are_cut_and_masks_leak(case: str) -> None:
    family, size, build = CASES[case]
    theirs = beyond_the_limit(scramble(build(), seed=1)).double()
    images = images_of(size, 2).double()
    ours = in_ours(theirs, family, size).double()
    assert relative_error(logits_of(ours, images), logits_of(theirs, images)) <= EXACT


@pytest.mark.parametrize("case", CASES)
def test_position_tables_matter_to_the_comparison(case: str) -> None:
    family, size, build = CASES[case]
    theirs = scramble(build(), seed=1)
    ours = in_ours(theirs, family, size)
    images = images_of(size, 2)
    assert relative_error(logits_of(ours, images), logits_of(without_tables(theirs), images)) > 100 * TOLERANCE


def test_every_swin_of_timm_is_recognised_at_the_size_timm_says() -> None:
    names = [name for name in timm.list_models("swin*") if not name.startswith("swinv2_cr")]
    assert len(names) > 20
    with torch.device("meta"):
        for name in names:
            model: Any = timm.create_model(name)
            size = model.patch_embed.img_size
            assert size == model.pretrained_cfg["input_size"][1:], name
            rehosted = swin.from_timm(model, size)
            assert rehosted is not None
            build_network(rehosted.config)


def test_the_windows_of_a_timm_swin_s3_differ_between_stages() -> None:
    with torch.device("meta"):
        rehosted = swin.from_timm(timm.create_model("swin_s3_tiny_224"), (224, 224))
    assert rehosted is not None
    assert isinstance(rehosted.config, SwinConfig)
    assert rehosted.config.window_size == (7, 7, 14, 7)


def resized(model: nn.Module, size: tuple[int, int], wanted: Overrides) -> tuple[nn.Module, tuple[str, ...]]:
    """Return our network for `model`, brought to the sizes wanted, and what that took."""
    rehosted = swin.from_timm(model, size)
    assert rehosted is not None
    config = SwinResizer().config(rehosted.config, wanted)
    state, done = SwinResizer().state(rehosted.map_state(model.state_dict()), rehosted.config, config)
    ours = build_network(config)
    load_strictly(ours, state, "timm")
    return ours.double().eval(), done


def test_tables_are_resampled_bicubically_as_the_authors_do() -> None:
    trained = scramble(timm_model("swin_tiny_patch4_window7_224"), seed=2)
    theirs = timm_model("swin_tiny_patch4_window7_224", img_size=(96, 192), window_size=6).eval()
    state = {
        key: resize_rel_pos_bias_table_simple(tensor, (6, 6), (11 * 11, tensor.shape[1])) if "table" in key else tensor
        for key, tensor in trained.state_dict().items()
    }
    theirs.load_state_dict(state)
    ours, done = resized(trained, (64, 64), Overrides(image_size=(96, 192), window_size=6))
    images = images_of((96, 192), 2).double()
    assert relative_error(logits_of(ours, images), logits_of(theirs.double(), images)) <= EXACT
    assert done == ("relative position tables of stage 0, 1 from 4×4 to 6×6 windows, bicubic",)


def test_the_bias_of_version_2_is_recomputed_in_units_of_its_training() -> None:
    trained = scramble(timm_model("swinv2_tiny_window8_256", window_size=16), seed=2)  # the last stage has 8×8 tokens
    changes = {"img_size": 192, "window_size": 24, "pretrained_window_sizes": (16, 8)}
    theirs = timm_model("swinv2_tiny_window8_256", **changes).eval()
    theirs.load_state_dict(trained.state_dict())
    ours, done = resized(trained, (64, 64), Overrides(image_size=(192, 192), window_size=24))
    images = images_of((192, 192), 1).double()
    assert relative_error(logits_of(ours, images), logits_of(theirs.double(), images)) <= EXACT
    assert [sentence.rpartition(" stage ")[2] for sentence in done] == [
        "0 from 16×16 to 24×24 windows, recomputed from the windows of training",
        "1 from 8×8 to 24×24 windows, recomputed from the windows of training",
    ]


def test_a_larger_image_with_the_same_windows_resamples_nothing() -> None:
    trained = scramble(timm_model("swin_tiny_patch4_window7_224"), seed=2)
    theirs = timm_model("swin_tiny_patch4_window7_224", img_size=(128, 96)).eval()
    theirs.load_state_dict(trained.state_dict())
    ours, done = resized(trained, (64, 64), Overrides(image_size=(128, 96)))
    images = images_of((128, 96), 2).double()
    assert relative_error(logits_of(ours, images), logits_of(theirs.double(), images)) <= EXACT
    assert done == ()


def test_a_resize_can_fail_the_comparison() -> None:
    trained = scramble(timm_model("swin_tiny_patch4_window7_224"), seed=2)
    right, _ = resized(trained, (64, 64), Overrides(image_size=(96, 96), window_size=6))
    wrong = copy.deepcopy(right)
    wrong.load_state_dict(
        {key: tensor.flip(0) if "table" in key else tensor for key, tensor in right.state_dict().items()}
    )
    images = images_of((96, 96), 2).double()
    assert relative_error(logits_of(wrong, images), logits_of(right, images)) > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_absolute_embeddings": True}, "absolute"),
        ({"hidden_act": "relu"}, "relu"),
        ({"num_labels": 0}, "classifier"),
        ({"layer_norm_eps": 1e-6}, "different eps"),
        ({"image_size": (64, 96)}, "oblong"),
        ({"image_size": 16}, "larger than the last grid of 2"),
    ],
)
def test_what_our_network_does_not_do_is_refused(changes: dict[str, Any], message: str) -> None:
    config = TheirSwinConfig(window_size=4, **(HF | changes))
    side = config.image_size
    size = (side, side) if isinstance(side, int) else (side[0], side[1])
    with pytest.raises(SourceError, match=message):
        swin.from_transformers(SwinForImageClassification(config), size)


def test_padded_and_oblong_windows_are_refused() -> None:
    with pytest.raises(SourceError, match="pads"):
        swin.from_torchvision(SwinTransformer(**TV), (16, 16))
    with pytest.raises(SourceError, match="windows of 8×4"):
        swin.from_timm(timm_model("swin_tiny_patch4_window7_224", window_size=(8, 4)), (64, 64))


def test_networks_of_other_families_are_left_to_them() -> None:
    other = nn.Linear(1, 1)
    assert [family(other, (64, 64)) for family in (swin.from_timm, swin.from_torchvision, swin.from_transformers)] == [
        None
    ] * 3
