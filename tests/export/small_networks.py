"""Small networks of other libraries, one per position mechanism, for `python:tests.export.small_networks:…`."""

from functools import partial
from typing import Any

import timm
import torchvision.models.swin_transformer as torchvision_swin
import transformers
from timm.models.byobnet import ByoBlockCfg, interleave_blocks
from timm.models.gcvit import GlobalContextVit
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import nn

from artifact import Preprocess
from benchmarks.zoo_networks import Logits

CLASSES = 10
Prepared = tuple[nn.Module, Preprocess]


def prepared(network: nn.Module, size: int) -> Prepared:
    half = (0.5, 0.5, 0.5)
    return network.eval(), Preprocess(resize=(size, size), interpolation="bicubic", mean=half, std=half)


def from_timm(name: str, size: int, **options: Any) -> Prepared:  # noqa: ANN401 -- options of timm
    return prepared(timm.create_model(name, num_classes=CLASSES, **options), size)


VIT = {"img_size": 64, "embed_dim": 48, "num_heads": 3, "depth": 2}

beit = partial(from_timm, "beit_base_patch16_224", 64, **VIT)
convit = partial(from_timm, "convit_tiny", 64, **VIT | {"num_heads": 4, "local_up_to_layer": 1})
dinov3_of_timm = partial(from_timm, "vit_small_patch16_dinov3", 64, **VIT)
efficientformer = partial(from_timm, "efficientformer_l1", 56, depths=(1, 2), embed_dims=(16, 32))
halonet = partial(
    from_timm,
    "halonet26t",
    64,
    blocks=(
        ByoBlockCfg("bottle", d=1, c=256, s=1, gs=0, br=0.25),
        interleave_blocks(("bottle", "self_attn"), d=2, c=512, s=2, gs=0, br=0.25),
        ByoBlockCfg("self_attn", d=1, c=1024, s=2, gs=0, br=0.25),
    ),
    stem_chs=16,
    width_factor=0.25,
    self_attn_kwargs={"block_size": 2, "halo_size": 1},
)
levit = partial(from_timm, "levit_128s", 64, img_size=64, depth=(1, 1), embed_dim=(32, 48), num_heads=(2, 3))
maxvit_rmlp = partial(from_timm, "maxvit_rmlp_pico_rw_256", 64, img_size=64, depths=(1,), embed_dim=(32,))
rope_mixed = partial(from_timm, "vit_small_patch16_rope_mixed_224", 64, **VIT)
sam = partial(
    from_timm, "samvit_base_patch16_224", 64, **VIT | {"window_size": 3, "global_attn_indexes": (1,), "neck_chans": 16}
)
swinv2_cr = partial(
    from_timm, "swinv2_cr_tiny_224", 64, img_size=64, window_size=4, embed_dim=32, depths=(2, 1), num_heads=(2, 4)
)
tiny_vit = partial(
    from_timm,
    "tiny_vit_5m_224",
    64,
    depths=(1, 1, 1),
    embed_dims=(16, 32, 48),
    num_heads=(1, 2, 3),
    window_sizes=(7, 3, 4),  # padded windows, and one window for the image
)
vit_srelpos = partial(from_timm, "vit_srelpos_small_patch16_224", 64, **VIT)
xcit = partial(from_timm, "xcit_nano_12_p16_224", 64, **VIT | {"depth": 1})


def gcvit() -> Prepared:
    network = GlobalContextVit(
        img_size=64, window_ratio=(32, 16), embed_dim=32, depths=(1, 2), num_heads=(2, 2), num_classes=CLASSES
    )
    return prepared(network, 64)


def mvitv2() -> Prepared:
    config = MultiScaleVitCfg(depths=(1, 1), embed_dim=32, stride_q=((1, 1), (2, 2)))  # type: ignore[arg-type]
    return prepared(MultiScaleVit(config, img_size=(64, 64), num_classes=CLASSES), 64)


def swin_v2_of_torchvision() -> Prepared:
    network = torchvision_swin.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=32,
        depths=[2, 1],
        num_heads=[2, 4],
        window_size=[4, 4],
        num_classes=CLASSES,
        block=torchvision_swin.SwinTransformerBlockV2,
        downsample_layer=torchvision_swin.PatchMergingV2,
    )
    return prepared(network, 64)


def swin_of_transformers() -> Prepared:
    config = transformers.SwinConfig(image_size=64, embed_dim=32, depths=[2, 1], num_heads=[2, 4], window_size=4)
    config.num_labels = CLASSES
    return prepared(Logits(transformers.SwinForImageClassification(config), lambda output: output.logits), 64)


def beit_of_transformers() -> Prepared:
    config = transformers.BeitConfig(
        image_size=64,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        use_shared_relative_position_bias=True,
    )
    config.num_labels = CLASSES
    return prepared(Logits(transformers.BeitForImageClassification(config), lambda output: output.logits), 64)


def dinov3_of_transformers() -> Prepared:
    config = transformers.DINOv3ViTConfig(
        hidden_size=48, intermediate_size=96, num_attention_heads=3, num_hidden_layers=2, image_size=64
    )
    return prepared(Logits(transformers.DINOv3ViTModel(config), lambda output: output.pooler_output), 64)
