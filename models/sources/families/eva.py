"""timm's Eva class, as far as it is a plain ViT: `vit_*_rope_*` (RoPE-ViT and timm's own) and EVA without SwiGLU.

timm turns neighbouring channels (2f, 2f + 1) together, we turn (f, f + d/2), as the halves of a query; so the channels
of queries and keys change places inside each head, which leaves their products as they are.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.config import ViTConfig
from models.sources.families.base import Rehosted, State
from models.sources.families.common import Rules, fill_biases, join_qkv, pad_position, refuse, rename
from models.sources.families.timm_vit import odd_parts, sizes

FREQUENCIES = "rope.freqs"
"""timm's key for those of `rope-mixed`, [2, depth, H, d/2], all blocks in one."""

TIMM: Rules = (
    (r"^pos_embed$", "position.table"),
    (r"^reg_token$", "register_tokens"),
    (r"^norm_pre\.", "embed_norm."),
    (r"^fc_norm\.", "norm."),
    (r"\.attn\.([qv])_bias$", r".attention.\1.bias"),
    (r"\.attn\.([qkv])_proj\.", r".attention.\1."),
    (r"\.attn\.", ".attention."),
    (r"\.gamma_(\d)$", r".scale\1.gamma"),
)


def from_timm(model: nn.Module, image_size: tuple[int, int]) -> Rehosted | None:  # noqa: ARG001 -- timm's know theirs
    """Recognise timm's `vit_*_rope_*` and `eva_*`; `eva02_*` and `*_dinov3` are refused, see the reason given."""
    from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm

    if type(model) is not Eva:
        return None
    net: Any = model
    blocks: list[Any] = list(net.blocks)
    refuse(model, {"blocks of its own": {type(block) for block in blocks} not in ({EvaBlock}, {EvaBlockPostNorm})})
    attentions: list[Any] = [block.attn for block in blocks]
    post_norm = type(blocks[0]) is EvaBlockPostNorm
    refuse(
        model,
        {
            **odd_parts(net),
            "norms in the attention": any(
                not isinstance(part, nn.Identity) for a in attentions for part in (a.q_norm, a.k_norm, a.norm)
            ),
            "gates in the attention": any(a.gate is not None for a in attentions),
            "heads that share keys": any(getattr(a, "num_kv_heads", a.num_heads) != a.num_heads for a in attentions),
            "heads of another width": any(a.num_heads * a.head_dim != net.embed_dim for a in attentions),
            "layer scale on the attention only": not post_norm
            and (blocks[0].gamma_1 is None) != (blocks[0].gamma_2 is None),
        },
    )
    rotary = _rotary(model, net.rope)
    config = ViTConfig(
        **sizes(net),
        registers=0 if net.reg_token is None else net.reg_token.shape[1],
        qkv_bias=_has_bias(attentions[0]),
        layer_scale=not post_norm and blocks[0].gamma_1 is not None,
        post_norm=post_norm,
        embed_norm=not isinstance(net.norm_pre, nn.Identity),
        encodings=({} if net.pos_embed is None else {"learned": {}}) | rotary,
    )
    order = None if net.rope is None else _channel_order(net.rope, attentions[0])
    num_patches, columns_first = net.patch_embed.num_patches, getattr(net.rope, "grid_indexing", "ij") == "xy"

    def map_state(state: State) -> dict[str, Tensor]:
        ours = join_qkv(rename(_by_block(state, columns_first=columns_first), TIMM))
        if order is not None:
            ours = {key: _reorder(tensor, order) if ".qkv." in key else tensor for key, tensor in ours.items()}
        return pad_position(fill_biases(ours, "patch_embed.proj"), config.extra_tokens, num_patches)

    return Rehosted(config, map_state)


def _has_bias(attention: Any) -> bool:  # noqa: ANN401 -- one of timm's two
    joint, alone = attention.qkv, attention.q_proj
    if joint is None:
        return alone.bias is not None
    return joint.bias is not None or getattr(attention, "q_bias", None) is not None


def _rotary(model: nn.Module, rope: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 -- one of timm's, or None
    """Return what a rotary encoding is in ours."""
    from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingMixed

    if rope is None:
        return {}
    if type(rope) is RotaryEmbeddingMixed:
        return {"rope-mixed": {}}
    refuse(model, {f"a {type(rope).__name__}": type(rope) is not RotaryEmbeddingCat})
    refuse(model, {"rotary places other than token counts": rope.grid_type != "index" or rope.grid_offset != 0})
    options: dict[str, Any] = {"temperature": float(rope.temperature)}
    if rope.ref_feat_shape is not None:
        options["reference_grid"] = tuple(rope.ref_feat_shape)
    return {"rope": options}


def _by_block(state: State, *, columns_first: bool) -> dict[str, Tensor]:
    """Return `state` with each block's frequencies on their own, rows first."""
    given = dict(state)
    frequencies = given.pop(FREQUENCIES, None)
    if frequencies is not None:
        rows_first = frequencies.flip(0) if columns_first else frequencies
        for block, own in enumerate(rows_first.unbind(dim=1)):
            given[f"blocks.{block}.attn.encoding.frequencies"] = own.clone()
    return given


def _channel_order(rope: Any, attention: Any) -> Tensor:  # noqa: ANN401 -- timm's
    """Return which of timm's channels stands at each place of ours, [d]."""
    pairs = torch.arange(attention.head_dim // 2)
    if rope.grid_indexing == "xy" and not hasattr(rope, "freqs"):
        pairs = pairs.roll(len(pairs) // 2)  # those that turn with the row come first in ours
    if attention.rotate_half:
        return torch.cat([pairs, pairs + attention.head_dim // 2])
    return torch.cat([2 * pairs, 2 * pairs + 1])


def _reorder(joint: Tensor, order: Tensor) -> Tensor:
    """Return q, k, v [3·C, …] with the channels of q and k in another order inside each head."""
    q, k, v = (part.reshape(-1, len(order), *part.shape[1:]) for part in joint.chunk(3))  # each [H, d, …]
    return torch.cat([part.flatten(0, 1) for part in (q[:, order], k[:, order], v)])
