"""Sizes and options of training that differ from the name's: detected in the file, stated by flags."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from models.encodings.offsets import relative_position_index
from models.sources import Overrides, Pretrained, RandomWeights, SourceError, load_source
from tests.models.sources.checkpoints.small import (
    SWIN,
    SWIN_ARGS,
    SWIN_V2,
    VIT,
    VIT_ARGS,
    is_same,
    load,
    network,
    saved,
    with_buffers,
)

pytestmark = pytest.mark.slow

RELPOS = "timm:vit_relpos_small_patch16_224"
BEIT, EVA = "timm:beit_base_patch16_224", "timm:eva02_tiny_patch14_224"


def fits(source: str, trained: dict[str, Any], folder: Path, base: dict[str, Any], **stated: Any) -> None:  # noqa: ANN401
    """Check that weights trained with other options are loaded once the options are stated."""
    theirs = network(source, **base | trained)
    loaded = load(source, saved(theirs.state_dict(), folder / "x"), **{"model_args": base} | stated)
    assert is_same(loaded, theirs)
    assert loaded.resampled == ()


@pytest.mark.parametrize(
    ("source", "base", "trained", "advice", "stated"),
    [
        (VIT, VIT_ARGS, {"img_size": (128, 256)}, "128x256 or 256x128", {"trained_image_size": (128, 256)}),
        (VIT, VIT_ARGS, {"img_size": 384}, "size 384;", {"trained_image_size": (384, 384)}),
        (BEIT, VIT_ARGS, {"img_size": 96}, "size 96;", {"trained_image_size": (96, 96)}),
        (EVA, VIT_ARGS, {"img_size": 112}, "size 112;", {"trained_image_size": (112, 112)}),
        (
            SWIN,
            SWIN_ARGS,
            {"img_size": 192, "window_size": 12},
            "--trained-window-size 12",
            {"trained_image_size": (192, 192), "trained_window_size": 12},
        ),
    ],
)
def test_another_image_or_window_size_of_training_is_stated_by_a_flag(
    source: str, base: dict[str, Any], trained: dict[str, Any], advice: str, stated: dict[str, Any], tmp_path: Path
) -> None:
    state = network(source, **base | trained).state_dict()
    with pytest.raises(SourceError, match=advice):
        load(source, saved(state, tmp_path / "x"), model_args=base)
    fits(source, trained, tmp_path, base, **stated)


def test_a_network_of_a_stated_size_can_be_resized(tmp_path: Path) -> None:
    state = network(VIT, **VIT_ARGS, img_size=(128, 256)).state_dict()
    loaded = load(
        VIT, saved(state, tmp_path / "x"), model_args=VIT_ARGS, trained_image_size=(128, 256), image_size=(64, 64)
    )
    assert loaded.resampled == ("position embedding from 8×16 to 4×4 tokens, bicubic with antialiasing",)
    assert loaded.preprocess.size == (64, 64)


def test_the_same_number_of_tokens_in_another_shape_is_refused(tmp_path: Path) -> None:
    theirs = network(VIT, **VIT_ARGS, img_size=(112, 448))  # 7×28 tokens, as many as 14×14
    file = saved(theirs.state_dict(), tmp_path / "x")
    with pytest.raises(
        SourceError, match=r"does not state the image size.*--trained-image-size 224x224 for that of timm"
    ):
        load(VIT, file, model_args=VIT_ARGS, image_size=(112, 448))
    size = (112, 448)
    assert is_same(load(VIT, file, model_args=VIT_ARGS, image_size=size, trained_image_size=size), theirs)


@pytest.mark.parametrize(
    ("source", "size"),
    [(VIT, (64, 64)), (BEIT, (64, 64)), (EVA, (112, 112)), (RELPOS, (64, 64))],
)
def test_tables_are_resampled_only_from_a_known_size(source: str, size: tuple[int, int], tmp_path: Path) -> None:
    args = VIT_ARGS | ({"rel_pos_type": "bias"} if "relpos" in source else {})
    side = 14 * 16
    file = saved(network(source, **args).state_dict(), tmp_path / "x")
    with pytest.raises(SourceError, match="Give --trained-image-size"):
        load(source, file, model_args=args, image_size=size)
    assert load(source, file, model_args=args, image_size=size, trained_image_size=(side, side)).resampled


def test_the_size_is_known_from_buffers_in_the_file(tmp_path: Path) -> None:
    theirs = network(BEIT, **VIT_ARGS)
    file = saved(with_buffers(theirs), tmp_path / "x")
    assert load(BEIT, file, model_args=VIT_ARGS, image_size=(64, 64)).resampled


def test_a_table_of_a_transposed_grid_is_detected_by_its_index(tmp_path: Path) -> None:
    theirs = network(BEIT, **VIT_ARGS, img_size=(64, 128))  # the same number of offsets as 128×64
    file = saved(with_buffers(theirs), tmp_path / "x")
    with pytest.raises(SourceError, match=r"relative_position_index is \[33, 33\] with other values"):
        load(BEIT, file, model_args=VIT_ARGS, trained_image_size=(128, 64))
    assert is_same(load(BEIT, file, model_args=VIT_ARGS, trained_image_size=(64, 128)), theirs)


def test_swin_v2_of_another_window_is_detected_by_its_buffers(tmp_path: Path) -> None:
    theirs = network(SWIN_V2, **SWIN_ARGS, img_size=128, window_size=16)
    file = saved(with_buffers(theirs), tmp_path / "x")
    with pytest.raises(SourceError, match=r"relative_coords_table is .*16×16 tokens.*--trained-window-size 16"):
        load(SWIN_V2, file, model_args=SWIN_ARGS, trained_image_size=(128, 128))
    stated: dict[str, Any] = {"trained_window_size": 16, "trained_image_size": (128, 128)}
    assert is_same(load(SWIN_V2, file, model_args=SWIN_ARGS, **stated), theirs)


def test_swin_v2_fine_tuned_from_other_windows_is_detected_by_its_coordinates(tmp_path: Path) -> None:
    before = {"pretrained_window_sizes": (12, 12)}
    theirs = network(SWIN_V2, **SWIN_ARGS | before, img_size=64)
    file = saved(with_buffers(theirs), tmp_path / "x")
    with pytest.raises(SourceError, match=r"with other values.*--model-arg pretrained_window_sizes"):
        load(SWIN_V2, file, model_args=SWIN_ARGS, trained_image_size=(64, 64))
    assert is_same(load(SWIN_V2, file, model_args=SWIN_ARGS | before, trained_image_size=(64, 64)), theirs)


def test_a_window_of_swin_v2_is_changed_only_from_a_stated_one(tmp_path: Path) -> None:
    theirs = network(SWIN_V2, **SWIN_ARGS, img_size=128, window_size=16)
    file = saved(theirs.state_dict(), tmp_path / "x")
    requested: dict[str, Any] = {"image_size": (128, 128), "window_size": 16}
    with pytest.raises(SourceError, match=r"does not state the window size.*--trained-window-size 16 for that of this"):
        load(SWIN_V2, file, model_args=SWIN_ARGS, **requested)
    assert is_same(load(SWIN_V2, file, model_args=SWIN_ARGS, **requested, trained_window_size=16), theirs)


def test_another_image_size_of_training_is_detected_by_the_shift_mask(tmp_path: Path) -> None:
    theirs = network(SWIN, **SWIN_ARGS, img_size=112)
    file = saved(with_buffers(theirs), tmp_path / "x")
    with pytest.raises(SourceError, match=r"attn_mask is \[16, 49, 49\].*--trained-image-size"):
        load(SWIN, file, model_args=SWIN_ARGS)
    assert is_same(load(SWIN, file, model_args=SWIN_ARGS, trained_image_size=(112, 112)), theirs)


@pytest.mark.parametrize(
    ("trained", "advice"),
    [
        ({"global_pool": "avg"}, r"mean of all tokens.*--model-arg global_pool=avg"),
        ({"global_pool": "avg", "class_token": False}, r"class_token=false and --model-arg global_pool=avg"),
        ({"reg_tokens": 4}, r"4 registers.*--model-arg reg_tokens=4"),
        ({"qkv_bias": False}, r"without qkv_bias.*--model-arg qkv_bias=false"),
        ({"init_values": 0.1}, r"with init_values.*--model-arg init_values=1e-5"),
        ({"depth": 2}, r"--model-arg depth=2"),
    ],
)
def test_other_options_of_the_constructor_are_named_and_can_be_given(
    trained: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=advice):
        load(VIT, saved(network(VIT, **VIT_ARGS | trained).state_dict(), tmp_path / "x"), model_args=VIT_ARGS)
    fits(VIT, trained, tmp_path, VIT_ARGS, model_args=VIT_ARGS | trained)


def test_the_advice_depends_on_the_mismatch(tmp_path: Path) -> None:
    state = network(VIT, **VIT_ARGS).state_dict()
    swin = network(SWIN, **SWIN_ARGS).state_dict()
    cases: list[tuple[str, dict[str, Tensor], str]] = [
        (VIT, network(VIT, **VIT_ARGS, in_chans=1).state_dict(), "images of 1 channel, but images are RGB here"),
        (VIT, {key: tensor for key, tensor in state.items() if "head" not in key}, "It has no classification head"),
        (VIT, swin, "Its architecture is not timm:vit_tiny"),
        (VIT, {key: tensor for key, tensor in state.items() if "norm1" not in key}, "It is incomplete"),
        (SWIN, swin | {"absolute_pos_embed": torch.zeros(1, 3136, 24)}, r"\(ape\).*python:PATH"),
    ]
    for source, content, message in cases:
        with pytest.raises(SourceError, match=message):
            load(source, saved(content, tmp_path / "x"), model_args=VIT_ARGS if source == VIT else SWIN_ARGS)


def test_unknown_options_are_refused(tmp_path: Path) -> None:
    file = saved(network(VIT, **VIT_ARGS).state_dict(), tmp_path / "x")
    for overrides, message in (
        ({"model_args": {"foo": 1}}, r"timm does not take --model-arg foo for it"),
        (
            {"model_args": {"checkpoint_path": "other.pth"}},
            "is not an option of the network; weights come",
        ),
        ({"trained_window_size": 7}, "timm does not take --trained-window-size"),
    ):
        with pytest.raises(SourceError, match=message):
            load(VIT, file, **overrides)
    for source, weights, given, message in (
        (VIT, RandomWeights(0), {"trained_image_size": (64, 64)}, "describe a --checkpoint"),
        (VIT, Pretrained(), {"trained_image_size": (64, 64)}, "describe a --checkpoint"),
        ("python:a:b", RandomWeights(0), {"model_args": {"a": 1}}, "set the sizes in the function"),
        ("posbake:vit_small_patch16_224", RandomWeights(0), {"model_args": {"a": 1}}, "write them in the config"),
        ("torchvision:resnet18", RandomWeights(0), {"model_args": {"weights": "x"}}, "is not an option of the network"),
        ("torchvision:resnet18", RandomWeights(0), {"model_args": {"foo": 1}}, "does not take --model-arg foo=1"),
    ):
        with pytest.raises(SourceError, match=message):
            load_source(source, weights, Overrides(**given))


def test_random_weights_accept_options_too() -> None:
    loaded = load_source(VIT, RandomWeights(0), Overrides(model_args=VIT_ARGS | {"num_classes": 3}))
    assert (loaded.num_classes, loaded.labels) == (3, None)


def hollow(model: nn.Module) -> dict[str, Tensor]:
    """Return a state dict with the keys and shapes of a network, without memory for its numbers."""
    return {key: torch.zeros(1).expand(tensor.shape) for key, tensor in model.state_dict().items()}


def test_the_image_size_of_training_of_torchvisions_vit_is_detected(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vit_b_32(image_size=96, num_classes=7)
    file = saved(hollow(theirs), tmp_path / "x")
    with pytest.raises(SourceError, match="--trained-image-size 96"):
        load("torchvision:vit_b_32", file)
    with pytest.raises(SourceError, match="torchvision builds it for square images"):
        load("torchvision:vit_b_32", file, trained_image_size=(96, 64))
    with pytest.raises(SourceError, match=r"\[1, 10, 768\], expected \[1, 17, 768\]"):  # it was built for 128
        load("torchvision:vit_b_32", file, trained_image_size=(128, 128))


def test_the_window_of_training_of_torchvisions_swin_can_be_stated(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]}
    with torch.device("meta"):
        theirs = SwinTransformer(patch_size=[4, 4], window_size=[4, 4], num_classes=7, **sizes)
    index = relative_position_index((4, 4)).flatten()
    state = {key: index if key.endswith("_index") else tensor for key, tensor in hollow(theirs).items()}
    file = saved(state, tmp_path / "x")
    message = r"relative_position_index is \[256\] \(4×4 tokens\).*--trained-window-size 4"
    with pytest.raises(SourceError, match=message):
        load("torchvision:swin_t", file)
    loaded = load("torchvision:swin_t", file, trained_window_size=4, trained_image_size=(128, 128))
    attention: Any = loaded.network.get_submodule("features.1.1.attn")
    assert (attention.window_size, attention.shift_size, loaded.image_size) == ([4, 4], [2, 2], (128, 128))
