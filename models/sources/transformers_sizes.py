"""Position tables of transformers' modules, and modules at sizes other than their configuration's."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from models.sources.base import Overrides, SourceError
from models.sources.positions import (
    EMBEDDING,
    NOTHING_KNOWN,
    OF_IMAGE,
    Positions,
    Table,
    joined,
    of_swin,
)
from models.sources.processors import pair

_EXTRA_TOKENS = {
    **dict.fromkeys(("ijepa", "swin", "swinv2"), 0),
    **dict.fromkeys(("beit", "data2vec-vision", "dinov2", "vit", "vit_msn"), 1),
    "deit": 2,
}
"""Number of rows before those of the grid in the absolute embedding, by model type; other types are unknown."""

_RESAMPLES_ITSELF = "dinov2"
"""Model type that resamples its embedding to the size of the image in every forward."""


def build_at(
    source: str,
    make: Callable[[Any], Any],
    config: Any,  # noqa: ANN401 -- transformers'
    overrides: Overrides,
    trained: Positions = NOTHING_KNOWN,
) -> nn.Module:
    """Build a module at the requested sizes.

    Args:
        source: for errors.
        make: builds the module from a configuration.
        config: the configuration at the sizes of training; not modified.
        overrides: the requested sizes.
        trained: positions of the module at the sizes of training, if there is one.

    Raises:
        SourceError: the configuration has no window size.
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
    """Return the side of the window of first training for each stage's bias."""
    windows = {table.stage: table.grid[0] for table in trained.tables.values() if table.stage is not None}
    before = config.pretrained_window_sizes or [0] * len(windows)
    return [int(earlier) or windows[stage] for stage, earlier in enumerate(before[: len(windows)])]


def _fit_windows(network: Any) -> None:  # noqa: ANN401 -- transformers'
    """Shrink the tables of a Swin v1 in stages with a grid smaller than the window, where the module would fail."""
    for layer in network.base_model.encoder.layers:
        for block in layer.blocks:
            side = min(block.window_size, *block.input_resolution)
            bias = block.attention.relative_position_bias
            if side < bias.window_size[0]:
                heads = bias.relative_position_bias_table.shape[1]
                block.attention.relative_position_bias = type(bias)(heads, (side, side))


def _let_be_oblong(network: Any, trained: Positions) -> None:  # noqa: ANN401 -- transformers'
    """Make BEiT use tables and embeddings of a rectangular grid without resampling.

    BEiT resamples both in every forward, which changes nothing on a square grid; on a rectangular grid it treats the
    embedding as square and swaps rows and columns of a table. The stored sides of a table are used for this only.
    """
    sides = network.config.image_size
    if not isinstance(sides, tuple) or any(table.grid[0] != table.grid[1] for table in trained.tables.values()):
        return
    embeddings = network.base_model.embeddings
    kind, as_it_is = type(embeddings), {"interpolate_pos_encoding": lambda self, *_: self.position_embeddings}
    embeddings.__class__ = type(kind.__name__, (kind,), as_it_is)
    for module in network.modules():
        if hasattr(module, "relative_position_bias_table"):
            module.window_size = module.window_size[::-1]


def in_transformers(model: nn.Module) -> Positions:
    """Return the positions of ViT, ViT-MSN, I-JEPA, DeiT, BEiT, Data2Vec, DINOv2, Swin v1 and v2."""
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
    names = {"swin": "swin_table", "swinv2": "swin_log_cpb"}
    if kind in names:
        relative = of_swin(theirs).tables
    else:
        keys = [key for key in model.state_dict() if key.endswith("relative_position_bias_table")]
        relative = {key: Table(OF_IMAGE, grid) for key in keys}
    tables |= relative
    return Positions(joined(learned=learned, **{names.get(kind, "beit_table"): bool(relative)}), tables)


def _grid(patches: Any) -> tuple[int, int]:  # noqa: ANN401 -- transformers'
    if hasattr(patches, "grid_size"):  # Swin's
        return patches.grid_size[0], patches.grid_size[1]
    (height, width), (rows, columns) = pair(patches.image_size), pair(patches.patch_size)
    return height // rows, width // columns
