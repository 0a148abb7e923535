"""timm's vision transformers give the same logits in our networks."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.config import ViTConfig
from models.encodings import Encoding
from models.sources.base import Overrides, SourceError
from models.sources.families import RESIZERS, TIMM
from tests.models.sources.libraries import relative_error
from tests.models.sources.oracles import (
    DOUBLE_TOLERANCE,
    TOLERANCE,
    check_same,
    ours_of,
    randomise_library,
    recognised,
)

SMALL: dict[str, Any] = {"img_size": (32, 48), "embed_dim": 48, "num_heads": 3, "depth": 2, "num_classes": 7}
ROPE = 1e-6  # timm computes angles in float32, whatever the network computes in
NETWORKS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "vit_base_patch16_rpn_224": {},  # norms after what they followed, mean of all tokens
    "vit_medium_patch16_gap_256": {},  # no CLS, no biases of q, k, v
    "vit_betwixt_patch16_reg4_gap_256": {},
    "vit_base_patch14_reg4_dinov2": {"patch_size": 16},  # CLS and registers without a position, layer scale
    "vit_base_patch32_clip_224": {"patch_size": 16},  # a norm before the first block, no bias of the patches
    "vit_so150m_patch16_reg4_gap_256": {},  # an odd MLP
    "vit_small_patch16_36x1_224": {},
    "deit3_small_patch16_224": {},  # CLS without a position
    "deit_tiny_distilled_patch16_224": {},
    "eva_large_patch14_196": {"patch_size": 16},  # the mean of the patches, beside a CLS token
    "beit_base_patch16_224": {},
    "beitv2_base_patch16_224": {},
    "beit_large_patch16_224": {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": True},
    "beit_base_patch16_384": {"use_shared_rel_pos_bias": True, "qkv_bias": False, "global_pool": "token"},
    "vit_relpos_small_patch16_224": {},
    "vit_relpos_medium_patch16_cls_224": {},
    "vit_relpos_base_patch16_clsgap_224": {},
    "vit_relpos_base_patch16_plus_240": {},
    "vit_relpos_small_patch16_rpn_224": {},
    "vit_relpos_base_patch16_224": {"rel_pos_type": "bias"},
    "vit_relpos_base_patch16_cls_224": {"rel_pos_type": "bias"},
    "vit_relpos_medium_patch16_224": {"rel_pos_type": "mlp-swin", "rel_pos_dim": 32},
    "vit_srelpos_small_patch16_224": {},
    "eva_giant_patch14_224": {"patch_size": 16, "mlp_ratio": 2},
    "vit_small_patch16_rope_224": {},  # columns turn first
    "vit_small_patch16_rope_ape_224": {},
    "vit_small_patch16_rope_mixed_224": {},
    "vit_small_patch16_rope_mixed_ape_224": {"rope_grid_indexing": "ij"},
    "vit_medium_patch16_rope_reg1_gap_256": {},  # places stretched over the grid of training
    "vit_betwixt_patch16_rope_reg4_gap_256": {"rope_rotate_half": True},
    "vit_srelpos_medium_patch16_224": {"rel_pos_type": "bias"},
}


def library(name: str, **options: object) -> nn.Module:
    sizes: dict[str, Any] = SMALL | NETWORKS.get(name, {}) | options
    model: nn.Module = timm.create_model(name, **sizes)
    randomise_library(model)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_give_the_same_logits(name: str) -> None:
    model = library(name)
    check_same(model, recognised(model, TIMM), tolerance=ROPE if "rope" in name else DOUBLE_TOLERANCE)


def test_a_network_without_any_position_is_taken_too() -> None:
    model = library("vit_tiny_patch16_224", pos_embed="none")
    rehosted = recognised(model, TIMM)
    assert rehosted.config.encoding == "none"
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert relative_error(ours_of(model, rehosted)(images), model(images)) < TOLERANCE


def test_what_each_is_called_in_ours() -> None:
    def config(name: str, **options: object) -> ViTConfig:
        found = recognised(library(name, **options), TIMM).config
        assert isinstance(found, ViTConfig)
        return found

    assert config("vit_tiny_patch16_224").encoding == "learned"
    assert config("deit_tiny_distilled_patch16_224").pool == "distilled"
    assert config("vit_base_patch14_reg4_dinov2").extra_tokens == 5
    assert config("beit_base_patch16_224").encoding == "beit-table"
    assert config("vit_relpos_small_patch16_224").encoding == "relpos-mlp"
    assert config("vit_relpos_base_patch16_224").encoding == "swin-table"
    assert config("vit_relpos_base_patch16_cls_224").encoding == "beit-table"
    assert config("vit_relpos_medium_patch16_224").encoding == "swin-log-cpb"


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("vit_base_patch16_siglip_224", {}, "pooling by map"),
        ("vit_base_patch16_clip_quickgelu_224", {}, "an activation other than exact GELU"),
        ("vit_tiny_patch16_224", {"qk_norm": True}, "norms in the attention"),
        ("vit_tiny_patch16_224", {"num_classes": 0}, "no classifier"),
        ("vit_tiny_patch16_224", {"in_chans": 1}, "other than three input channels"),
        ("vit_small_patch16_18x2_224", {}, "blocks of its own"),
        ("beit3_base_patch16_224", {}, "a norm in the MLP"),
        ("vit_tiny_r_s16_p8_224", {"img_size": (32, 32)}, "a patch embedding of its own"),
        ("beit_base_patch16_224", {"swiglu_mlp": True}, "an MLP of its own"),
        ("eva02_tiny_patch14_224", {"patch_size": 16}, "an MLP of its own"),
        ("vit_small_patch16_dinov3", {}, "layer scale|a RotaryEmbeddingDinoV3"),
        ("vit_small_patch16_rope_224", {"rope_grid_offset": 0.5}, "places other than token counts"),
    ],
)
def test_what_ours_lacks_is_refused_with_the_reason(name: str, options: dict[str, Any], reason: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, **(SMALL | options))
    with pytest.raises(SourceError, match=f"^this .* has .*{reason}"):
        recognised(model, TIMM)


def test_networks_of_other_kinds_are_left_to_other_families() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet18")
    assert all(family(model, (224, 224)) is None for family in TIMM)


RESIZED = [
    "vit_tiny_patch16_224",
    "vit_base_patch14_reg4_dinov2",
    "vit_medium_patch16_gap_256",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "beit_base_patch16_224",
    "beit_large_patch16_224",
    "vit_relpos_small_patch16_224",
    "vit_relpos_base_patch16_224",
    "vit_relpos_base_patch16_cls_224",
    "vit_srelpos_small_patch16_224",
    "vit_small_patch16_rope_ape_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_medium_patch16_rope_reg1_gap_256",
]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")  # both in timm's interpolation of tables
@pytest.mark.parametrize("size", [(64, 48), (32, 80), (16, 96)])
@pytest.mark.parametrize("name", RESIZED)
def test_another_image_size_gives_what_timm_gives_there(name: str, size: tuple[int, int]) -> None:
    model = library(name)
    rehosted = recognised(model, TIMM)
    resizer = RESIZERS["vit"]
    wanted = resizer.config(rehosted.config, Overrides(image_size=size))
    state, resampled = resizer.state(rehosted.map_state(model.state_dict()), rehosted.config, wanted)
    model.set_input_size(img_size=size)  # type: ignore[operator]
    same_size = recognised(model, TIMM)
    assert same_size.config == wanted
    network = ours_of(model, same_size)
    network.load_state_dict(state)
    images = torch.randn(2, 3, *size).double()
    with torch.no_grad():
        # timm interpolates in float32
        assert relative_error(network.double()(images), model.double()(images)) < TOLERANCE
    learned_for_a_grid = any(name in wanted.encoding for name in ("learned", "table"))
    assert bool(resampled) == learned_for_a_grid
    assert all("from 2×3 to" in sentence for sentence in resampled)


def test_the_same_image_size_resamples_nothing() -> None:
    rehosted = recognised(library("vit_tiny_patch16_224"), TIMM)
    state = rehosted.map_state(library("vit_tiny_patch16_224").state_dict())
    same, resampled = RESIZERS["vit"].state(state, rehosted.config, rehosted.config)
    assert resampled == ()
    assert all(torch.equal(same[key], state[key]) for key in state)


def test_sizes_that_a_vit_cannot_have_are_refused() -> None:
    rehosted = recognised(library("vit_tiny_patch16_224"), TIMM)
    with pytest.raises(SourceError, match="no windows"):
        RESIZERS["vit"].config(rehosted.config, Overrides(window_size=7))
    with pytest.raises(SourceError, match="not a multiple of the patch size 16"):
        RESIZERS["vit"].config(rehosted.config, Overrides(image_size=(40, 48)))


def test_a_shared_bias_is_given_to_every_block() -> None:
    model = library("vit_srelpos_small_patch16_224")
    network = ours_of(model, recognised(model, TIMM))
    biases = [module.bias() for module in network.modules() if isinstance(module, Encoding)]
    there = [bias for bias in biases if bias is not None]
    assert len(there) == 2
    assert torch.equal(there[0], there[1])
