"""The library's own module, at the sizes of training and at others, is the network that re-hosting makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import save_file
from torch import nn
from torchvision.models import swin_transformer, vision_transformer
from torchvision.models._api import BUILTIN_MODELS
from transformers import ViTImageProcessor

from models.sources import Checkpoint, Loaded, Overrides, Pretrained
from models.sources import timm as from_timm
from models.sources import torchvision as from_torchvision
from models.sources import transformers as from_transformers
from tests.models.sources.libraries import logits_of, relative_error, scramble
from tests.models.sources.oracles import POSITIONS
from tests.models.sources.test_vit_timm import NETWORKS, ROPE

EXACT = 1e-12  # of the largest logit, in float64: no difference of definition

SUMMED = 1e-7  # re-hosting adds two tables in float32

Sizes = tuple[tuple[int, int], int | None]

VIT: dict[str, Any] = {"embed_dim": 48, "num_heads": 3, "depth": 2}
SWIN: dict[str, Any] = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3)}
TIMM_SWINS: dict[str, tuple[str, dict[str, Any]]] = {
    "v1": ("swin_tiny_patch4_window7_224", {"window_size": 4}),
    "v1, window covers the last grid": ("swin_tiny_patch4_window7_224", {"window_size": 16}),
    "v1, a window for each stage": ("swin_s3_tiny_224", {"window_size": ((8, 8), (4, 4))}),
    "v2": ("swinv2_tiny_window8_256", {"window_size": 4}),
    "v2, window covers the last grid": ("swinv2_tiny_window8_256", {"window_size": 16}),
    "v2, from smaller windows": (
        "swinv2_base_window12to24_192to384",
        {"window_size": 16, "pretrained_window_sizes": (6, 3)},
    ),
}
SWIN_SIZES: list[Sizes | None] = [None, ((128, 128), None), ((96, 192), 6), ((64, 64), 8)]


def with_wide_tables(model: nn.Module) -> nn.Module:
    """Draw every parameter, position tables wide, layer scales and norms around 1."""
    scramble(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(word in name for word in POSITIONS):
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
            elif any(word in name for word in ("gamma", "lambda", "ln_", ".ln.")) and not name.endswith("bias"):
                parameter.add_(1)
    return model.eval()


def saved(model: nn.Module, folder: Path) -> Checkpoint:
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / "weights.safetensors")
    return Checkpoint(folder / "weights.safetensors")


def overrides(sizes: Sizes | None, **given: Any) -> Overrides:  # noqa: ANN401 -- as Overrides takes them
    return Overrides(**given) if sizes is None else Overrides(sizes[0], sizes[1], **given)


def check_same(rehosted: Loaded, library: Loaded, tolerance: float = EXACT) -> None:
    """Assert that both say and compute the same, at batches 1 and 3, and that this depends on the positions."""
    assert rehosted.not_rehosted is None
    assert library.not_rehosted is not None
    for fact in ("name", "encoding", "image_size", "num_classes", "preprocess", "labels", "resampled", "notes", "task"):
        assert getattr(library, fact) == getattr(rehosted, fact), fact
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(3, 3, *library.image_size, generator=generator).double()
    ours, theirs = rehosted.network.double(), library.network.double()
    for batch in (1, 3):
        assert relative_error(logits_of(theirs, images[:batch]), logits_of(ours, images[:batch])) < tolerance
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "encoding" in name or "position" in name:
                parameter.zero_()
    if rehosted.encoding != "rope":  # which has no table
        assert relative_error(logits_of(theirs, images), logits_of(ours, images)) > 1e-3


@pytest.mark.parametrize("sizes", [None, ((64, 48), None), ((32, 80), None)])
@pytest.mark.parametrize("name", NETWORKS)
def test_vits_of_timm(name: str, sizes: Sizes | None, tmp_path: Path) -> None:
    options = VIT | NETWORKS[name]
    model = with_wide_tables(timm.create_model(name, img_size=(32, 48), num_classes=7, **options))
    weights, asked = saved(model, tmp_path), overrides(sizes, trained_image_size=(32, 48), model_args=options)
    tolerance = ROPE if "rope" in name else 1e-7  # layer scales of 1 amplify what timm rounds to float32
    check_same(from_timm.load(name, weights, asked), from_timm.load(name, weights, asked, families=()), tolerance)


@pytest.mark.parametrize("sizes", SWIN_SIZES)
@pytest.mark.parametrize("name", TIMM_SWINS)
def test_swins_of_timm(name: str, sizes: Sizes | None, tmp_path: Path) -> None:
    architecture, options = TIMM_SWINS[name]
    options = SWIN | options
    model = with_wide_tables(timm.create_model(architecture, img_size=64, num_classes=7, **options))
    asked = overrides(sizes, trained_image_size=(64, 64), model_args=options)
    weights = saved(model, tmp_path)
    check_same(from_timm.load(architecture, weights, asked), from_timm.load(architecture, weights, asked, families=()))


def small_vit(*, weights: torchvision.models.ViT_B_16_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    sizes = {"image_size": 224, "patch_size": 16, "num_layers": 2, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 100}
    assert weights is None
    network: nn.Module = vision_transformer.VisionTransformer(**sizes | options)
    return network


def small_swin(*, weights: torchvision.models.Swin_T_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    sizes: dict[str, Any] = {"patch_size": [4, 4], "window_size": [7, 7], "embed_dim": 24, "depths": [2, 2]}
    assert weights is None
    network: nn.Module = swin_transformer.SwinTransformer(**sizes | {"num_heads": [2, 3]} | options)
    return network


def small_swin_v2(*, weights: torchvision.models.Swin_V2_T_Weights | None = None, **options: Any) -> nn.Module:  # noqa: ANN401
    assert weights is None
    second = {"block": swin_transformer.SwinTransformerBlockV2, "downsample_layer": swin_transformer.PatchMergingV2}
    return small_swin(**second | options)


TORCHVISION_NETWORKS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any], list[Sizes | None]]] = {
    "small_vit": (small_vit, {"trained_image_size": (64, 64)}, [None, ((96, 96), None), ((48, 80), None)]),
    "small_swin": (
        small_swin,
        {"trained_image_size": (56, 56)},
        [None, ((112, 168), None), ((96, 96), 6), ((80, 40), 5)],
    ),
    "small_swin_v2": (
        small_swin_v2,
        {"trained_image_size": (64, 64), "trained_window_size": 4},
        [None, ((96, 64), None), ((128, 128), 8), ((48, 48), 3)],
    ),
}


@pytest.mark.parametrize(
    ("name", "sizes"), [(name, sizes) for name, (*_, asked) in TORCHVISION_NETWORKS.items() for sizes in asked]
)
def test_vits_and_swins_of_torchvision(
    name: str, sizes: Sizes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, trained, _ = TORCHVISION_NETWORKS[name]
    monkeypatch.setitem(BUILTIN_MODELS, name, build)  # its own are of full size
    side, window = trained["trained_image_size"][0], trained.get("trained_window_size")
    options: dict[str, Any] = {"image_size": side} if name == "small_vit" else {}
    model = with_wide_tables(build(num_classes=7, **options | ({"window_size": [window] * 2} if window else {})))
    weights, asked = saved(model, tmp_path), overrides(sizes, **trained)
    rehosted = from_torchvision.load(name, weights, asked)
    check_same(rehosted, from_torchvision.load(name, weights, asked, families=()))


HF_VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 100,
}
HF_SWIN: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 3], "image_size": 64, "window_size": 4}
RELATIVE, SHARED = {"use_relative_position_bias": True}, {"use_shared_relative_position_bias": True}
ABSOLUTE = {"use_absolute_position_embeddings": True, "use_mean_pooling": False}
VIT_SIZES: list[Sizes | None] = [None, ((64, 64), None), ((48, 24), None)]
TRANSFORMERS_NETWORKS: dict[str, tuple[str, dict[str, Any], list[Sizes | None]]] = {
    "vit": ("ViT", HF_VIT, VIT_SIZES),
    "vit, oblong": ("ViT", HF_VIT | {"image_size": (32, 48)}, VIT_SIZES),
    "beit": ("Beit", HF_VIT | RELATIVE, VIT_SIZES),
    "beit, one table for all": ("Beit", HF_VIT | SHARED, VIT_SIZES),
    "beit, everything": ("Beit", HF_VIT | RELATIVE | SHARED | ABSOLUTE, VIT_SIZES),
    "data2vec": ("Data2VecVision", HF_VIT | RELATIVE, VIT_SIZES),
    "data2vec, everything": ("Data2VecVision", HF_VIT | RELATIVE | SHARED | ABSOLUTE, VIT_SIZES),
    "swin": ("Swin", HF_SWIN, [None, ((128, 96), None), ((96, 96), 6), ((16, 16), None)]),
    "swin v2": ("Swinv2", HF_SWIN, [None, ((128, 96), None), ((96, 96), 6), ((16, 16), None)]),
    "swin v2, from smaller windows": (
        "Swinv2",
        HF_SWIN | {"pretrained_window_sizes": [3, 2]},
        [None, ((96, 96), 6)],
    ),
    "swin v2, window covers the last grid": ("Swinv2", HF_SWIN | {"window_size": 16}, [None, ((128, 128), 16)]),
}


@pytest.mark.parametrize(
    ("name", "sizes"), [(name, sizes) for name, (*_, asked) in TRANSFORMERS_NETWORKS.items() for sizes in asked]
)
def test_vits_beits_and_swins_of_transformers(name: str, sizes: Sizes | None, tmp_path: Path) -> None:
    kind, options, _ = TRANSFORMERS_NETWORKS[name]
    config = getattr(transformers, f"{kind}Config")(**options, id2label={0: "cat", 1: "dog", 2: "newt"})
    model = with_wide_tables(getattr(transformers, f"{kind}ForImageClassification")(config))
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    side = options["image_size"]
    height, width = side if isinstance(side, tuple) else (side, side)
    ViTImageProcessor(size={"height": height, "width": width}).save_pretrained(tmp_path)
    place, asked = str(tmp_path), overrides(sizes)
    rehosted = from_transformers.load(place, Pretrained(), asked)
    library = from_transformers.load(place, Pretrained(), asked, families=())
    check_same(rehosted, library, SUMMED if "everything" in name else EXACT)
