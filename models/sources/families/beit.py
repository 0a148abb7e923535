"""BEiT (Bao et al. 2022), BEiT v2 and Data2Vec: relative position tables with rows for the CLS token, layer scale.

A table that all blocks share is given to each of them; where a block has its own too, the two are added, as they are
in the scores.
"""

from typing import Any

from torch import Tensor, nn

from models.config import ViTConfig
from models.sources.families.base import Rehosted, State
from models.sources.families.common import (
    Rules,
    join_qkv,
    mlp_ratio,
    odd_norms,
    odd_patches,
    refuse,
    rename,
)
from models.sources.families.timm_vit import odd_parts, sizes
from models.sources.families.vit import TRANSFORMERS_FILES

SHARED = "shared_table"
"""Our rules' name for a table that all blocks share, until it is given to each."""

TIMM: Rules = (
    (r"^pos_embed$", "position.table"),
    (r"^fc_norm\.", "norm."),
    (r"\.attn\.([qv])_bias$", r".attention.\1.bias"),
    (r"\.attn\.relative_position_bias_table$", ".attention.encoding.table"),
    (r"^rel_pos_bias\.relative_position_bias_table$", SHARED),
    (r"\.attn\.", ".attention."),
    (r"\.gamma_(\d)$", r".scale\1.gamma"),
)

TRANSFORMERS: Rules = (
    (r"^(beit|data2vec_vision)\.", ""),
    (r"^encoder\.layer\.", "layers."),
    (r"^layers\.", "blocks."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "position.table"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(pooler\.)?layernorm\.", "norm."),
    (r"^(encoder\.relative|shared)_position_bias\.relative_position_bias_table$", SHARED),
    (r"(\.attention\.attention)?\.relative_position_bias\.relative_position_bias_table$", ".attention.encoding.table"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.lambda_(\d)$", r".scale\1.gamma"),
    (r"\.attention\.([qkv])_proj\.", r".attention.\1."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1."),
    (r"\.attention\.(o_proj|output\.dense)\.", ".attention.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^classifier\.", "head."),
)
BEIT_FILES: Rules = (
    *TRANSFORMERS_FILES,
    (r"\.encoder\.relative_position_bias\.", ".shared_position_bias."),
    (r"\.attention\.attention\.relative_position_bias\.", ".relative_position_bias."),
)
"""From the keys of files written by transformers 4 to those of 5; Data2Vec keeps the old ones."""


def from_timm(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- timm's know theirs
    """Recognise timm's `beit_*` and `beitv2_*`, and the authors' checkpoints, whose keys are the same."""
    from timm.models.beit import Beit

    if type(model) is not Beit:
        return None
    net: Any = model
    first = net.blocks[0]
    refuse(
        model,
        {
            **odd_parts(net),
            "heads of another width": first.attn.proj.in_features != net.embed_dim,
        },
    )
    has_table = first.attn.relative_position_bias_table is not None or net.rel_pos_bias is not None
    config = ViTConfig(
        **sizes(net),
        qkv_bias=first.attn.q_bias is not None,
        layer_scale=first.gamma_1 is not None,
        encodings=_encodings(absolute=net.pos_embed is not None, relative=has_table),
    )

    def map_state(state: State) -> dict[str, Tensor]:
        return _share(join_qkv(rename(state, TIMM)), config.depth)

    return Rehosted(config, map_state)


def from_transformers(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- likewise
    """Recognise transformers' `BeitForImageClassification` and `Data2VecVisionForImageClassification`."""
    from transformers.models.beit.modeling_beit import BeitForImageClassification
    from transformers.models.data2vec.modeling_data2vec_vision import Data2VecVisionForImageClassification

    if type(model) not in (BeitForImageClassification, Data2VecVisionForImageClassification):
        return None
    net: Any = model
    theirs, body = net.config, net.base_model
    projection = body.embeddings.patch_embeddings.projection
    size = theirs.image_size if isinstance(theirs.image_size, (tuple, list)) else (theirs.image_size,) * 2
    relative = theirs.use_relative_position_bias or theirs.use_shared_relative_position_bias
    refuse(
        model,
        {
            **odd_patches(projection),
            **odd_norms([module for module in model.modules() if isinstance(module, nn.LayerNorm)]),
            "an activation other than exact GELU": theirs.hidden_act != "gelu",
            # Theirs takes rows for columns when it resizes the table, which it does at every call.
            "a relative table for images that are not square": relative and size[0] != size[1],
            "no classifier": not isinstance(net.classifier, nn.Linear),
        },
    )
    config = ViTConfig(
        image_size=(size[0], size[1]),
        patch_size=projection.kernel_size[0],
        width=theirs.hidden_size,
        depth=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        num_classes=net.classifier.out_features,
        mlp_ratio=mlp_ratio(theirs.intermediate_size, theirs.hidden_size),
        layer_norm_eps=theirs.layer_norm_eps,
        pool="mean" if theirs.use_mean_pooling else "cls",
        cls_token=True,
        norm_after_pool=theirs.use_mean_pooling,
        layer_scale=theirs.layer_scale_init_value > 0,
        encodings=_encodings(absolute=theirs.use_absolute_position_embeddings, relative=relative),
    )

    def map_state(state: State) -> dict[str, Tensor]:
        needed = {key: tensor for key, tensor in state.items() if not key.endswith("embeddings.mask_token")}
        return _share(join_qkv(rename(needed, TRANSFORMERS)), config.depth)

    files: Rules = BEIT_FILES if type(model) is BeitForImageClassification else ()
    return Rehosted(config, map_state, adopt=lambda state: rename(state, files))


def _encodings(*, absolute: bool, relative: bool) -> dict[str, dict[str, Any]]:
    there = {"learned": absolute, "beit-table": relative}
    return {name: {} for name, present in there.items() if present}


def _share(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    shared = state.pop(SHARED, None)
    if shared is not None:
        for block in range(depth):
            key = f"blocks.{block}.attention.encoding.table"
            state[key] = shared + state[key] if key in state else shared.clone()
    return state
