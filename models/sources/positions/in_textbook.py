"""Position tables of this project's own networks, by their configuration."""

import torch

from models.build import build_network
from models.config import SwinConfig, ViTConfig
from models.sources.positions.base import EMBEDDING, OF_IMAGE, OF_WINDOWS, OVER_OFFSETS, Kind, Positions, Table
from models.swin import Swin, SwinBlock

_OF_VIT: dict[str, Kind] = {"beit-table": OF_IMAGE, "swin-table": OF_IMAGE}
_OF_SWIN: dict[str, Kind] = {"swin-table": OF_WINDOWS, "swin-log-cpb": OVER_OFFSETS}


def in_textbook(config: ViTConfig | SwinConfig) -> Positions:
    """Return the positions of a network; encodings that belong to no grid, or are computed for each, have no tables."""
    with torch.device("meta"):
        network = build_network(config)
    tables: dict[str, Table] = {}
    extra = config.extra_tokens if isinstance(config, ViTConfig) else 0
    rows, columns = (side // config.patch_size for side in config.image_size)
    if "learned" in config.encodings:
        tables["position.table"] = Table(EMBEDDING, (rows, columns), extra_tokens=extra)
    kinds = _OF_SWIN if isinstance(network, Swin) else _OF_VIT
    kind = next((kinds[name] for name in config.encodings if name in kinds), None)
    if kind is not None:
        for path, _ in network.named_modules():
            if path.endswith("attention.encoding"):
                block = network.get_submodule(path.removesuffix(".attention.encoding"))
                grid, stage = (rows, columns), None
                if isinstance(block, SwinBlock):
                    grid, stage = block.window, int(path.split(".")[1])
                name = "mlp.0.weight" if kind is OVER_OFFSETS else "table"
                tables[f"{path}.{name}"] = Table(kind, grid, stage)
    return Positions(config.encoding, tables)
