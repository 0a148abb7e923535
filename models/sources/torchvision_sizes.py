"""Position tables of torchvision's modules, and sizes their constructors lack: rectangular images, windows."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2, SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from models.encodings.offsets import log_spaced_offsets
from models.sources.base import SourceError
from models.sources.positions import EMBEDDING, NOTHING_KNOWN, Positions, Table, of_swin


class AnySidesViT(VisionTransformer):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ViT for rectangular images, which its own check refuses although the network supports them.

    torchvision's function builds a square network; `set_sides` replaces its position embedding.
    """

    def _process_input(self, x: Tensor) -> Tensor:
        """Map images [B, 3, height, width] to patches [B, rows·columns, C]."""
        patches: Tensor = self.conv_proj(x).flatten(2).transpose(1, 2)
        return patches


def size_options(source: str, model: nn.Module, size: tuple[int, int]) -> dict[str, Any]:
    """Return the constructor's option for an image size; empty for networks of any size and for rectangular sizes.

    Raises:
        SourceError: the network does not support that size.
    """
    if isinstance(model, VisionTransformer):
        if any(side % model.patch_size for side in size):
            raise SourceError(f"{source}: {size[0]}×{size[1]} is not a multiple of its patch size {model.patch_size}")
        return {"image_size": size[0]} if size[0] == size[1] else {}
    return {"input_size": size} if isinstance(model, MaxVit) else {}


def set_sides(model: nn.Module, size: tuple[int, int]) -> None:
    """Change a ViT built for square images to images of `size`, with a newly drawn position embedding."""
    if not isinstance(model, VisionTransformer) or size[0] == size[1]:
        return
    model.__class__ = AnySidesViT
    old = model.encoder.pos_embedding
    model.seq_length = (size[0] // model.patch_size) * (size[1] // model.patch_size) + 1
    model.encoder.pos_embedding = nn.Parameter(0.02 * torch.randn(1, model.seq_length, old.shape[2], device=old.device))


def set_windows(source: str, model: nn.Module, window: int, trained: Positions) -> None:
    """Change the window size of a Swin, with its tables and indices.

    Args:
        source: for errors.
        model: torchvision's module.
        window: side, in tokens.
        trained: positions of the module at the sizes of training; version 2 has offsets in units of its windows.

    Raises:
        SourceError: the network is not a Swin.
    """
    if not isinstance(model, SwinTransformer):
        raise SourceError(
            f"{source}: torchvision has no window size for it; leave out --window-size and --trained-window-size"
        )
    for path, module in model.named_modules():
        if not isinstance(module, ShiftedWindowAttention):
            continue
        module.window_size = [window, window]
        module.shift_size = [window // 2 if shift else 0 for shift in module.shift_size]
        with torch.device(module.qkv.weight.device):
            module.define_relative_position_bias_table()
            module.define_relative_position_index()
            unit = trained.tables.get(f"{path}.cpb_mlp.0.weight")
            if isinstance(module, ShiftedWindowAttentionV2) and unit is not None:
                offsets = log_spaced_offsets((window, window), unit.grid)
                module.relative_coords_table = offsets.reshape(1, 2 * window - 1, 2 * window - 1, 2)


def in_torchvision(model: nn.Module, image_size: tuple[int, int]) -> Positions:
    """Return the positions of ViT, whose images have `image_size` (height, width) in pixels, and of Swin v1 and v2."""
    net: Any = model
    if isinstance(model, VisionTransformer):
        grid = (image_size[0] // net.patch_size, image_size[1] // net.patch_size)
        return Positions("learned", {"encoder.pos_embedding": Table(EMBEDDING, grid, extra_tokens=1)})
    return of_swin(net) if isinstance(model, SwinTransformer) else NOTHING_KNOWN
