"""timm's ViTs with relative position biases, from a table or from a small network over offsets.

A bias that all blocks share is given to each of them.
"""

from typing import Any

from torch import Tensor, nn

from models.config import ViTConfig
from models.sources.families.base import Rehosted, State
from models.sources.families.common import Rules, refuse, rename
from models.sources.families.timm_vit import odd_parts, sizes

SHARED = "shared_rel_pos."

TIMM: Rules = (
    (r"^fc_norm\.", "norm."),
    (r"\.attn\.rel_pos\.mlp\.fc1\.", ".attention.encoding.mlp.0."),
    (r"\.attn\.rel_pos\.mlp\.fc2\.", ".attention.encoding.mlp.2."),
    (r"\.attn\.rel_pos\.relative_position_bias_table$", ".attention.encoding.table"),
    (r"\.attn\.", ".attention."),
    (r"\.ls(\d)\.gamma$", r".scale\1.gamma"),
)


def from_timm(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- timm's know theirs
    """Recognise timm's `vit_relpos_*` and `vit_srelpos_*`."""
    from timm.models.vision_transformer_relpos import RelPosBlock, ResPostRelPosBlock, VisionTransformerRelPos

    if type(model) is not VisionTransformerRelPos:
        return None
    net: Any = model
    blocks = list(net.blocks)
    refuse(model, {"blocks of its own": {type(b) for b in blocks} not in ({RelPosBlock}, {ResPostRelPosBlock})})
    attentions = [block.attn for block in blocks]
    refuse(
        model,
        {
            **odd_parts(net),
            "norms in the attention": any(not isinstance(a.q_norm, nn.Identity) for a in attentions),
        },
    )
    bias = attentions[0].rel_pos if net.shared_rel_pos is None else net.shared_rel_pos
    config = ViTConfig(
        **sizes(net),
        qkv_bias=attentions[0].qkv.bias is not None,
        layer_scale=hasattr(blocks[0], "ls1") and not isinstance(blocks[0].ls1, nn.Identity),
        post_norm=type(blocks[0]) is ResPostRelPosBlock,
        encodings=_encodings(model, bias),
    )

    def map_state(state: State) -> dict[str, Tensor]:
        return rename(_share(state, config.depth), TIMM)

    return Rehosted(config, map_state)


def _encodings(model: nn.Module, bias: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 -- one of timm's, or None
    """Return what a bias is in ours."""
    from timm.layers.pos_embed_rel import RelPosBias, RelPosMlp

    refuse(model, {f"a {type(bias).__name__} for a bias": type(bias) not in (RelPosBias, RelPosMlp)})
    if type(bias) is RelPosBias:
        return {"beit-table" if bias.prefix_tokens else "swin-table": {}}
    refuse(model, {f"{bias.mode} offsets": bias.mode not in ("cr", "swin")})
    refuse(model, {"a bias from another window": bias.mode == "swin" and bias.pretrained_window_size != (0, 0)})
    return {"relpos-mlp" if bias.mode == "cr" else "swin-log-cpb": {"hidden": bias.mlp.fc1.out_features}}


def _share(state: State, depth: int) -> dict[str, Tensor]:
    """Return `state` with what all blocks share given to each."""
    given: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith(SHARED):
            rest = key.removeprefix(SHARED)
            given |= {f"blocks.{block}.attn.rel_pos.{rest}": tensor.clone() for block in range(depth)}
        else:
            given[key] = tensor
    return given
