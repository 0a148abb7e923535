"""Position tables of transformers' modules."""

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

_EMBEDDING = "embeddings.position_embeddings"
_EXTRA_TOKENS = {"beit": 1, "data2vec-vision": 1, "deit": 2, "dinov2": 1, "swin": 0, "swinv2": 0, "vit": 1}
"""Rows of the absolute embedding before those of the grid, by type of model; other types are not known."""

_RESAMPLES_ITSELF = "dinov2"
"""Brings its embedding to the size of the image in every forward."""


def in_transformers(model: nn.Module) -> Positions:
    """Return the positions of ViT, DeiT, BEiT, Data2Vec, DINOv2, Swin v1 and v2."""
    theirs: Any = model
    kind = theirs.config.model_type
    if kind not in _EXTRA_TOKENS:
        return NOTHING_KNOWN
    body = theirs.base_model
    grid = _grid(body.embeddings.patch_embeddings)
    learned = body.embeddings.position_embeddings is not None
    tables = {}
    if learned and kind != _RESAMPLES_ITSELF:
        key = f"{theirs.base_model_prefix}.{_EMBEDDING}"
        tables[key] = Table(EMBEDDING, grid, extra_tokens=_EXTRA_TOKENS[kind])
    if kind.startswith("swin"):
        relative = _of_windows(theirs, body)
    else:
        keys = [key for key in model.state_dict() if key.endswith("relative_position_bias_table")]
        relative = {key: Table(OF_IMAGE, grid) for key in keys}
    tables |= relative
    names = {"swin": "swin_table", "swinv2": "swin_log_cpb"}
    return Positions(joined(learned=learned, **{names.get(kind, "beit_table"): bool(relative)}), tables)


def _of_windows(model: Any, body: Any) -> dict[str, Table]:  # noqa: ANN401 -- one of transformers' two
    version = 2 if model.config.model_type == "swinv2" else 1
    tables = {}
    for stage, layer in enumerate(body.encoder.layers):
        for block, module in enumerate(layer.blocks):
            attention = module.attention.self if version == 2 else module.attention
            bias = attention if version == 2 else attention.relative_position_bias
            name = (
                "attention.self.continuous_position_bias_mlp.0.weight"
                if version == 2
                else "attention.relative_position_bias.relative_position_bias_table"
            )
            key = f"{model.base_model_prefix}.encoder.layers.{stage}.blocks.{block}.{name}"
            tables[key] = Table(OVER_OFFSETS if version == 2 else OF_WINDOWS, tuple(bias.window_size), stage)
    return tables


def _grid(patches: Any) -> tuple[int, int]:  # noqa: ANN401 -- transformers'
    if hasattr(patches, "grid_size"):  # Swin's
        return patches.grid_size[0], patches.grid_size[1]
    (height, width), (rows, columns) = (
        side if isinstance(side, tuple | list) else (side, side) for side in (patches.image_size, patches.patch_size)
    )
    return height // rows, width // columns
