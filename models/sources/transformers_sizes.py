"""Position tables of transformers' modules, and these at sizes that are not their configuration's."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers.models.beit.modeling_beit import BeitEmbeddings
from transformers.models.data2vec.modeling_data2vec_vision import Data2VecVisionEmbeddings

from models.sources.base import Overrides, SourceError
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
from models.sources.processors import pair

_EXTRA_TOKENS = {"beit": 1, "data2vec-vision": 1, "deit": 2, "dinov2": 1, "swin": 0, "swinv2": 0, "vit": 1}
"""Rows of the absolute embedding before those of the grid, by type of model; other types are not known."""

_RESAMPLES_ITSELF = "dinov2"
"""Brings its embedding to the size of the image in every forward."""


def build_at(
    source: str,
    make: Callable[[Any], Any],
    config: Any,  # noqa: ANN401 -- transformers'
    overrides: Overrides,
    trained: Positions = NOTHING_KNOWN,
) -> nn.Module:
    """Return a module at the sizes that are asked for.

    Args:
        source: for errors.
        make: makes it from a configuration.
        config: at the sizes of training; it is left as it is.
        overrides: the sizes wanted.
        trained: of the module at the sizes of training, if there is one.

    Raises:
        SourceError: its configuration has no window size.
    """
    config = copy.deepcopy(config)
    if overrides.image_size is not None and getattr(config, "image_size", None) is not None:
        height, width = overrides.image_size
        config.image_size = height if height == width else (height, width)
    if overrides.window_size is not None:
        if not isinstance(getattr(config, "window_size", None), int):
            raise SourceError(f"{source}: its configuration has no window_size; leave out --window-size")
        config.window_size = overrides.window_size
    if trained.tables and config.model_type == "swinv2":
        config.pretrained_window_sizes = _units(config, trained)
    network: nn.Module = make(config)
    if config.model_type == "swin":
        _fit_windows(network)
    if trained.tables and config.model_type in ("beit", "data2vec-vision"):
        _let_be_oblong(network, trained)
    return network


def _units(config: Any, trained: Positions) -> list[int]:  # noqa: ANN401 -- transformers'
    """Return the side of the window that each stage's bias was first trained with."""
    windows = {table.stage: table.grid[0] for table in trained.tables.values() if table.stage is not None}
    before = config.pretrained_window_sizes or [0] * len(windows)
    return [int(earlier) or windows[stage] for stage, earlier in enumerate(before[: len(windows)])]


def _fit_windows(network: Any) -> None:  # noqa: ANN401 -- transformers'
    """Give version 1 of Swin tables of smaller windows where its grid is smaller; as it is built, it fails there."""
    for layer in network.base_model.encoder.layers:
        for block in layer.blocks:
            side = min(block.window_size, *block.input_resolution)
            bias = block.attention.relative_position_bias
            if side < bias.window_size[0]:
                heads = bias.relative_position_bias_table.shape[1]
                block.attention.relative_position_bias = type(bias)(heads, (side, side))


class _BeitEmbeddings(BeitEmbeddings):  # type: ignore[misc]  # mypy does not read it
    """BEiT's, with a position embedding that is of the size of the image already."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:  # noqa: ARG002 -- theirs
        positions: Tensor = self.position_embeddings
        return positions


class _Data2VecVisionEmbeddings(Data2VecVisionEmbeddings):  # type: ignore[misc]  # likewise
    """Likewise Data2Vec's."""

    interpolate_pos_encoding = _BeitEmbeddings.interpolate_pos_encoding


def _let_be_oblong(network: Any, trained: Positions) -> None:  # noqa: ANN401 -- transformers'
    """Let BEiT read tables and embeddings that were resampled from a square grid to an oblong one as they are.

    It resamples both in every forward, which changes nothing on a square grid; on another it takes the embedding for
    one of a square, and a table's rows for its columns. The sides that it has of a table are read for this alone.
    """
    sides = network.config.image_size
    if not isinstance(sides, tuple) or any(table.grid[0] != table.grid[1] for table in trained.tables.values()):
        return
    embeddings = network.base_model.embeddings
    embeddings.__class__ = _BeitEmbeddings if type(embeddings) is BeitEmbeddings else _Data2VecVisionEmbeddings
    for module in network.modules():
        if hasattr(module, "relative_position_bias_table"):
            module.window_size = module.window_size[::-1]


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
        key = f"{theirs.base_model_prefix}.embeddings.position_embeddings"
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
    (height, width), (rows, columns) = pair(patches.image_size), pair(patches.patch_size)
    return height // rows, width // columns
