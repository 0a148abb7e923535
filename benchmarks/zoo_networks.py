"""Networks of the zoo: one or more of each family with position-dependent attention.

Networks of transformers are built from a configuration, without downloads, by the functions of this module, as sources
`python:benchmarks.zoo_networks:<name>`.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from artifact import Preprocess

hf: Any = transformers  # its type hints lack arguments

TIMM = (
    "swin_tiny_patch4_window7_224",
    "swin_s3_tiny_224",
    "swinv2_tiny_window8_256",
    "swinv2_tiny_window16_256",
    "swinv2_cr_tiny_224",
    "vit_relpos_small_patch16_224",
    "vit_relpos_small_patch16_rpn_224",
    "vit_relpos_base_patch16_clsgap_224",
    "vit_srelpos_small_patch16_224",
    "beit_base_patch16_224",
    "beitv2_base_patch16_224",
    "maxvit_rmlp_pico_rw_256",
    "maxvit_tiny_tf_224",
    "coatnet_rmlp_nano_rw_224",
    "coatnet_0_rw_224",
    "levit_128s",
    "mvitv2_tiny",
    "samvit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_dinov3",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "tiny_vit_5m_224",
    "gcvit_xxtiny",
    "halonet26t",
    "botnet26t_256",
    "lambda_resnet26rpt_256",
    "convit_tiny",
    "deit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
)
OTHERS = (
    "cait_xxs24_224",
    "coat_tiny",
    "crossvit_9_240",
    "davit_tiny",
    "hiera_tiny_224",
    "mobilevit_s",
    "nest_tiny",
    "pvt_v2_b0",
    "twins_svt_small",
    "volo_d1_224",
)
"""Networks of timm that were chosen after the passes were written."""
TORCHVISION = ("swin_t", "swin_v2_t", "maxvit_t", "vit_b_16")
TRANSFORMERS = ("swin", "swinv2", "beit", "beit_shared", "data2vec", "levit", "vit", "dinov3", "sam")
NETWORKS = (
    *(f"timm:{name}" for name in TIMM),
    *(f"torchvision:{name}" for name in TORCHVISION),
    *(f"python:benchmarks.zoo_networks:{name}" for name in TRANSFORMERS),
    *(f"timm:{name}" for name in OTHERS),
)

CLASSES = 1000
Prepared = tuple[nn.Module, Preprocess]


class Logits(nn.Module):
    """Module that returns one output of a transformers network, selected by `read`."""

    def __init__(self, network: nn.Module, read: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.read = network, read

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 3, height, width] to [B, outputs]."""
        return self.read(self.network(images))


def swin() -> Prepared:
    """Swin-T."""
    return _classifier(hf.SwinForImageClassification(hf.SwinConfig(num_labels=CLASSES)))


def swinv2() -> Prepared:
    """Swin v2-T, windows of 8."""
    config = hf.Swinv2Config(image_size=256, window_size=8, num_labels=CLASSES)
    return _classifier(hf.Swinv2ForImageClassification(config), 256)


def beit() -> Prepared:
    """BEiT-B with a table in each block."""
    config = hf.BeitConfig(use_relative_position_bias=True, num_labels=CLASSES)
    return _classifier(hf.BeitForImageClassification(config))


def beit_shared() -> Prepared:
    """BEiT-B with one table for all blocks."""
    config = hf.BeitConfig(use_shared_relative_position_bias=True, num_labels=CLASSES)
    return _classifier(hf.BeitForImageClassification(config))


def data2vec() -> Prepared:
    """Data2Vec-B for images."""
    config = hf.Data2VecVisionConfig(use_relative_position_bias=True, num_labels=CLASSES)
    return _classifier(hf.Data2VecVisionForImageClassification(config))


def levit() -> Prepared:
    """LeViT-256."""
    return _classifier(hf.LevitForImageClassification(hf.LevitConfig(num_labels=CLASSES)))


def vit() -> Prepared:
    """ViT-B/16."""
    return _classifier(hf.ViTForImageClassification(hf.ViTConfig(num_labels=CLASSES)))


def dinov3() -> Prepared:
    """DINOv3 ViT-S/16 without classifier; the output is its pooled features."""
    config = hf.DINOv3ViTConfig(hidden_size=384, intermediate_size=1536, num_attention_heads=6)
    return Logits(hf.DINOv3ViTModel(config), lambda output: output.pooler_output).eval(), _preprocess(224)


def sam() -> Prepared:
    """SAM's vision encoder at 224 with four layers; the output is the mean of its feature map."""
    config = hf.SamVisionConfig(image_size=224, num_hidden_layers=4, global_attn_indexes=(1, 3))
    encoder = hf.SamVisionModel(config)
    return Logits(encoder, lambda output: output.last_hidden_state.mean((2, 3))).eval(), _preprocess(224)


def _classifier(network: nn.Module, size: int = 224) -> Prepared:
    return Logits(network, lambda output: output.logits).eval(), _preprocess(size)


def _preprocess(size: int) -> Preprocess:
    half = (0.5, 0.5, 0.5)
    return Preprocess(resize=(size, size), interpolation="bicubic", mean=half, std=half)


def has_no_classes(source: str) -> bool:
    """Return whether a network has no classifier by default."""
    import timm

    kind, _, name = source.partition(":")
    return kind == "timm" and not timm.get_pretrained_cfg_value(name, "num_classes")


def library_module(source: str) -> nn.Module:
    """Return the library's own module with its initial weights."""
    import timm
    import torchvision

    kind, _, name = source.partition(":")
    torch.manual_seed(0)
    if kind == "timm":
        module: nn.Module = timm.create_model(name)
        return (module if module.num_classes else timm.create_model(name, num_classes=CLASSES)).eval()
    if kind == "torchvision":
        built: nn.Module = torchvision.models.get_model(name)
        return built.eval()
    network, _ = globals()[name.rpartition(":")[2]]()
    assert isinstance(network, nn.Module)
    return network.eval()
