"""Networks from configurations. A new architecture is a file and a line in `ARCHITECTURES`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from models.config import SwinConfig, ViTConfig
from models.swin import Swin
from models.vit import ViT

ARCHITECTURES: dict[str, Callable[[Any], nn.Module]] = {"swin": Swin, "vit": ViT}


def build_network(config: ViTConfig | SwinConfig) -> nn.Module:
    """Return the freshly initialised network that `config` describes.

    Raises:
        ValueError: sizes that do not fit together, an unknown encoding, or an unknown option of an encoding.
    """
    return ARCHITECTURES[config.architecture](config)
