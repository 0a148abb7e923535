"""Position tables of torchvision's modules."""

from typing import Any

from torch import nn

from models.sources.positions import (
    EMBEDDING,
    NOTHING_KNOWN,
    OF_WINDOWS,
    OVER_OFFSETS,
    Grid,
    Positions,
    Table,
)


def in_torchvision(model: nn.Module, image_size: tuple[int, int]) -> Positions:
    """Return the positions of ViT, whose images have `image_size` (height, width) in pixels, and of Swin v1 and v2."""
    from torchvision.models.swin_transformer import SwinTransformer
    from torchvision.models.vision_transformer import VisionTransformer

    net: Any = model
    if isinstance(model, VisionTransformer):
        grid: Grid = (image_size[0] // net.patch_size, image_size[1] // net.patch_size)
        return Positions("learned", {"encoder.pos_embedding": Table(EMBEDDING, grid, extra_tokens=1)})
    return _of_swin(net) if isinstance(model, SwinTransformer) else NOTHING_KNOWN


def _of_swin(swin: Any) -> Positions:  # noqa: ANN401 -- torchvision's
    from torchvision.models.swin_transformer import ShiftedWindowAttentionV2

    tables = {}
    for place, stage in enumerate(swin.features):
        if place % 2:  # between stages stands what merges patches
            for block, module in enumerate(stage):
                second = isinstance(module.attn, ShiftedWindowAttentionV2)
                name = "cpb_mlp.0.weight" if second else "relative_position_bias_table"
                kind = OVER_OFFSETS if second else OF_WINDOWS
                window = (module.attn.window_size[0], module.attn.window_size[1])
                tables[f"features.{place}.{block}.attn.{name}"] = Table(kind, window, stage=place // 2)
    return Positions("swin-log-cpb" if second else "swin-table", tables)
