"""Small networks of other libraries, loaded as by the command line."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.sources import Checkpoint, Loaded, Overrides, load_source
from tests.models.sources.libraries import logits_of, randomise_library, relative_error

VIT, VIT_ARGS = "timm:vit_tiny_patch16_224", {"depth": 1, "embed_dim": 48, "num_heads": 3}
SWIN, SWIN_ARGS = "timm:swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 3)}
SWIN_V2 = "timm:swinv2_tiny_window8_256"
TOLERANCE = 1e-5  # relative to the largest logit, in float32
BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask")


def network(source: str, **options: Any) -> nn.Module:  # noqa: ANN401 -- options of timm
    """Return timm's module with random weights and large position tables."""
    model: nn.Module = timm.create_model(source.removeprefix("timm:"), num_classes=7, **options)
    randomise_library(model)
    return model


def with_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights with the buffers that the authors' files contain."""
    buffers = {key: tensor for key, tensor in model.named_buffers() if key.endswith(BUFFERS)}
    assert buffers
    return model.state_dict() | buffers


def saved(content: object, file: Path) -> Path:
    """Save `content` with torch.save and return the file."""
    torch.save(content, file)
    return file


def load(source: str, file: Path, key: str | None = None, **overrides: Any) -> Loaded:  # noqa: ANN401
    return load_source(source, Checkpoint(file, key), Overrides(**overrides))


def is_same(loaded: Loaded, theirs: nn.Module) -> bool:
    """Return whether both give the same logits."""
    images = torch.randn(2, 3, *loaded.image_size, generator=torch.Generator().manual_seed(1))
    return relative_error(logits_of(loaded.network, images), logits_of(theirs, images)) < TOLERANCE
