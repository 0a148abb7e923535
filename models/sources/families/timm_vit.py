"""What timm's vision transformers have in common, whichever family they are of."""

from typing import Any

from torch import nn

from models.sources.families.common import is_exact_gelu, mlp_ratio, odd_norms, odd_patches


def odd_parts(model: Any) -> dict[str, bool]:  # noqa: ANN401 -- timm's classes share names, not a base
    """Return what `common.refuse` should know of patches, norms, MLPs and pooling of a timm network."""
    from timm.layers.mlp import Mlp
    from timm.layers.patch_embed import PatchEmbed

    blocks, embed = list(model.blocks), model.patch_embed
    mlps, norms = [block.mlp for block in blocks], [norm for block in blocks for norm in (block.norm1, block.norm2)]
    return {
        "a patch embedding of its own": type(embed) is not PatchEmbed,
        "a norm in the patch embedding": not isinstance(getattr(embed, "norm", None), nn.Identity),
        **odd_patches(getattr(embed, "proj", None)),
        **odd_norms([*norms, *(module for module in model.modules() if isinstance(module, nn.LayerNorm))]),
        "an MLP of its own": any(type(mlp) is not Mlp for mlp in mlps),
        "an activation other than exact GELU": any(not is_exact_gelu(getattr(mlp, "act", None)) for mlp in mlps),
        "a norm in the MLP": any(not isinstance(getattr(mlp, "norm", None), nn.Identity) for mlp in mlps),
        "not one last norm": sum(isinstance(norm, nn.LayerNorm) for norm in (model.norm, model.fc_norm)) != 1,
        f"pooling by {model.global_pool or 'nothing'}": model.global_pool not in ("token", "avg"),
        "no classifier": not isinstance(model.head, nn.Linear),
    }


def sizes(model: Any) -> dict[str, Any]:  # noqa: ANN401 -- likewise
    """Return the sizes of our configuration, from a network in which `odd_parts` found nothing."""
    block, embed = model.blocks[0], model.patch_embed
    return {
        "image_size": tuple(embed.img_size),
        "patch_size": embed.proj.kernel_size[0],
        "width": model.embed_dim,
        "depth": len(model.blocks),
        "num_heads": block.attn.num_heads,
        "num_classes": model.head.out_features,
        "mlp_ratio": mlp_ratio(block.mlp.fc1.out_features, model.embed_dim),
        "layer_norm_eps": block.norm1.eps,
        "cls_token": model.cls_token is not None,
        "pool": "cls" if model.global_pool == "token" else "mean",
        "norm_after_pool": model.global_pool == "avg" and isinstance(model.fc_norm, nn.LayerNorm),
    }
