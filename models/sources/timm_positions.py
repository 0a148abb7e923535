"""Position tables of timm's modules."""

from typing import Any

from torch import nn

from models.sources.positions import (
    EMBEDDING,
    NOTHING_KNOWN,
    OF_IMAGE,
    OF_WINDOWS,
    OVER_OFFSETS,
    Positions,
    Table,
    joined,
)

_RELATIVE = ".relative_position_bias_table"


def in_timm(model: nn.Module) -> Positions:
    """Return the positions of Swin v1 and v2, and of ViT, DeiT, BEiT, EVA and the ViTs with relative biases."""
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    net: Any = model
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return _of_swin(net, version=1 if isinstance(model, SwinTransformer) else 2)
    if not isinstance(model, VisionTransformer | Beit | Eva | VisionTransformerRelPos):
        return NOTHING_KNOWN
    grid = net.patch_embed.grid_size
    if grid is None:  # a network that takes any size, and says no grid
        return NOTHING_KNOWN
    tables = {}
    embedding = getattr(net, "pos_embed", None)
    if embedding is not None:
        tables["pos_embed"] = Table(EMBEDDING, tuple(grid), extra_tokens=embedding.shape[1] - grid[0] * grid[1])
    relative = {key: Table(OF_IMAGE, tuple(grid)) for key in model.state_dict() if key.endswith(_RELATIVE)}
    tables |= relative
    if isinstance(model, Eva):
        return Positions(joined(learned=embedding is not None, **_rotary(net.rope)), tables)
    if isinstance(model, VisionTransformerRelPos):
        return Positions(_relative_bias(net), tables)
    return Positions(joined(learned=embedding is not None, beit_table=bool(relative)), tables)


def _of_swin(swin: Any, version: int) -> Positions:  # noqa: ANN401 -- one of timm's two
    tables = {}
    for stage, layer in enumerate(swin.layers):
        for block, module in enumerate(layer.blocks):
            key = f"layers.{stage}.blocks.{block}.attn" + (_RELATIVE if version == 1 else ".cpb_mlp.0.weight")
            kind = OF_WINDOWS if version == 1 else OVER_OFFSETS
            tables[key] = Table(kind, tuple(module.attn.window_size), stage)
    return Positions("swin-table" if version == 1 else "swin-log-cpb", tables)


def _rotary(rope: Any) -> dict[str, bool]:  # noqa: ANN401 -- one of timm's, or None
    from timm.layers.pos_embed_sincos import RotaryEmbeddingMixed

    mixed = isinstance(rope, RotaryEmbeddingMixed)
    return {"rope": rope is not None and not mixed, "rope_mixed": mixed}


def _relative_bias(net: Any) -> str | None:  # noqa: ANN401 -- timm's
    """Return the name of the bias of a VisionTransformerRelPos; None for one that this project has no name for."""
    from timm.layers.pos_embed_rel import RelPosBias, RelPosMlp

    bias = net.blocks[0].attn.rel_pos if net.shared_rel_pos is None else net.shared_rel_pos
    if isinstance(bias, RelPosBias):
        return "beit-table" if bias.prefix_tokens else "swin-table"
    return {"cr": "relpos-mlp", "swin": "swin-log-cpb"}.get(bias.mode) if isinstance(bias, RelPosMlp) else None
