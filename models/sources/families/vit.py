"""The plain ViT and DeiT of timm, torchvision and transformers: a learned embedding, and nothing in the scores.

timm's class stands for CLIP's, DINOv2's, DeiT III's and EVA's networks too, as far as they are plain.
"""

from typing import Any

from torch import Tensor, nn

from models.config import ViTConfig
from models.sources.families.base import Rehosted, State
from models.sources.families.common import (
    Rules,
    fill_biases,
    join_qkv,
    mlp_ratio,
    odd_norms,
    odd_patches,
    pad_position,
    refuse,
    rename,
)
from models.sources.families.timm_vit import odd_parts, sizes

TIMM: Rules = (
    (r"^pos_embed$", "position.table"),
    (r"^dist_token$", "distillation_token"),
    (r"^reg_token$", "register_tokens"),
    (r"^head_dist\.", "distillation_head."),
    (r"^norm_pre\.", "embed_norm."),
    (r"^fc_norm\.", "norm."),
    (r"\.attn\.", ".attention."),
    (r"\.ls(\d)\.gamma$", r".scale\1.gamma"),
)

TORCHVISION: Rules = (
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "position.table"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^encoder\.ln\.", "norm."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.self_attention\.in_proj_(weight|bias)$", r".attention.qkv.\1"),
    (r"\.self_attention\.out_proj\.", ".attention.proj."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^heads\.head\.", "head."),
)
TORCHVISION_FILES: Rules = ((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))
"""From the keys of the published files to those of today's modules."""

TRANSFORMERS: Rules = (
    (r"^vit\.embeddings\.cls_token$", "cls_token"),
    (r"^vit\.embeddings\.position_embeddings$", "position.table"),
    (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^vit\.layers\.", "blocks."),
    (r"^vit\.layernorm\.", "norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.([qkv])_proj\.", r".attention.\1."),
    (r"\.attention\.o_proj\.", ".attention.proj."),
    (r"^classifier\.", "head."),
)
TRANSFORMERS_FILES: Rules = (
    (r"^(\w+)\.encoder\.layer\.", r"\1.layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""From the keys of files written by transformers 4 to those of 5."""


def from_timm(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- timm's know theirs
    """Recognise timm's `vit_*`, `deit_*` and what else is a plain VisionTransformer."""
    from timm.layers.attention import Attention
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer

    if type(model) not in (VisionTransformer, VisionTransformerDistilled):
        return None
    net: Any = model
    blocks: list[Any] = list(net.blocks)
    refuse(model, {"blocks of its own": {type(block) for block in blocks} not in ({Block}, {ResPostBlock})})
    attentions: list[Any] = [block.attn for block in blocks]
    refuse(model, {"an attention of its own": any(type(attention) is not Attention for attention in attentions)})
    refuse(
        model,
        {
            **odd_parts(net),
            "norms in the attention": any(
                not _plain(part) for a in attentions for part in (a.q_norm, a.k_norm, a.norm)
            ),
            "gates in the attention": any(a.gate is not None for a in attentions),
            "heads of another width": any(a.num_heads * a.head_dim != net.embed_dim for a in attentions),
            "pooling of the extra tokens too": net.pool_include_prefix and net.global_pool == "avg",
        },
    )
    distilled = type(model) is VisionTransformerDistilled
    refuse(model, {"registers beside a distillation token": distilled and net.num_reg_tokens > 0})
    config = ViTConfig(
        **sizes(net) | ({"pool": "distilled"} if distilled else {}),
        registers=net.num_reg_tokens,
        qkv_bias=attentions[0].qkv.bias is not None,
        layer_scale=hasattr(blocks[0], "ls1") and not _plain(blocks[0].ls1),
        post_norm=type(blocks[0]) is ResPostBlock,
        embed_norm=not _plain(net.norm_pre),
        encodings={} if net.pos_embed is None else {"learned": {}},
    )
    num_patches = net.patch_embed.num_patches

    def map_state(state: State) -> dict[str, Tensor]:
        renamed = fill_biases(rename(state, TIMM), "patch_embed.proj", "attention.proj")
        return pad_position(renamed, config.extra_tokens, num_patches)

    return Rehosted(config, map_state)


def from_torchvision(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- likewise
    """Recognise torchvision's `vit_*`."""
    from torchvision.models.vision_transformer import VisionTransformer

    if type(model) is not VisionTransformer:
        return None
    net: Any = model
    layers = list(net.encoder.layers)
    refuse(
        model,
        {
            **odd_patches(net.conv_proj),
            **odd_norms([net.encoder.ln, *(norm for layer in layers for norm in (layer.ln_1, layer.ln_2))]),
            "a head of more than one layer": len(net.heads) != 1,
        },
    )
    config = ViTConfig(
        image_size=(net.image_size, net.image_size),
        patch_size=net.patch_size,
        width=net.hidden_dim,
        depth=len(layers),
        num_heads=layers[0].num_heads,
        num_classes=net.heads.head.out_features,
        mlp_ratio=mlp_ratio(net.mlp_dim, net.hidden_dim),
        layer_norm_eps=net.encoder.ln.eps,
        pool="cls",
        encodings={"learned": {}},
    )
    return Rehosted(
        config, lambda state: rename(state, TORCHVISION), adopt=lambda state: rename(state, TORCHVISION_FILES)
    )


def from_transformers(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- likewise
    """Recognise transformers' `ViTForImageClassification`."""
    from transformers.models.vit.modeling_vit import ViTForImageClassification

    if type(model) is not ViTForImageClassification:
        return None
    net: Any = model
    theirs, embed = net.config, net.vit.embeddings.patch_embeddings
    refuse(
        model,
        {
            **odd_patches(embed.projection),
            "an activation other than exact GELU": theirs.hidden_act != "gelu",
            "heads of another width": net.vit.layers[0].attention.head_dim * theirs.num_attention_heads
            != theirs.hidden_size,
        },
    )
    config = ViTConfig(
        image_size=tuple(embed.image_size),
        patch_size=embed.projection.kernel_size[0],
        width=theirs.hidden_size,
        depth=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        num_classes=net.classifier.out_features,
        mlp_ratio=mlp_ratio(theirs.intermediate_size, theirs.hidden_size),
        layer_norm_eps=theirs.layer_norm_eps,
        qkv_bias=theirs.qkv_bias,
        pool="cls",
        encodings={"learned": {}},
    )
    return Rehosted(
        config,
        lambda state: join_qkv(rename(state, TRANSFORMERS)),
        adopt=lambda state: rename(state, TRANSFORMERS_FILES),
    )


def _plain(part: nn.Module) -> bool:
    """Whether timm left a part out."""
    return isinstance(part, nn.Identity)
