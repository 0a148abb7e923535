"""The Swin transformer, versions 1 (Liu et al. 2021) and 2 (Liu et al. 2022).

Attention is computed inside windows of M × M tokens; every second block shifts the windows by half their side, which
connects neighbouring windows. Version 2 applies norms after attention and MLP, and uses cosine attention.
Shapes: B images, R × S the grid of tokens, C width, N = M·M tokens of a window, W windows of an image.
"""

import math

import torch
from torch import Tensor, nn

from models.attention import Attention
from models.blocks import MLP, PatchEmbed
from models.config import SwinConfig
from models.encodings import Place, build_encoding

MASKED = -100.0
"""Added to the scores between tokens that only the cyclic shift made neighbours; lower than any score."""


def window_partition(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Split [B, R, S, C] into windows [B·W, N, C]; windows, and tokens inside a window, are in raster order."""
    batch, rows, columns, width = x.shape
    high, wide = window
    x = x.view(batch, rows // high, high, columns // wide, wide, width)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, high * wide, width)


def window_reverse(windows: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Merge windows [B·W, N, C] to [B, R, S, C]."""
    (high, wide), (rows, columns) = window, grid
    x = windows.view(-1, rows // high, columns // wide, high, wide, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, windows.shape[-1])


def shifted_window_mask(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """Return [W, N, N]: 0 where two tokens of a shifted window were neighbours before the shift, else `MASKED`.

    The cyclic shift puts opposite edges of the image into the last windows; they must not attend to each other.
    """
    regions = torch.zeros(grid)
    for axis in (0, 1):
        position = torch.arange(grid[axis])
        band = (position >= grid[axis] - window[axis]).int() + (position >= grid[axis] - shift[axis]).int()
        regions = regions * 3 + (band[:, None] if axis == 0 else band[None, :])
    region_of = window_partition(regions[None, :, :, None], window)[..., 0]  # [W, N]
    return torch.where(region_of[:, :, None] == region_of[:, None, :], 0.0, MASKED)


class SwinBlock(nn.Module):
    """Window attention, then an MLP, each with a norm and a residual connection.

    Args:
        config: configuration of the network.
        stage: index of the block's stage, from 0.
        grid: (R, S) in tokens; the window must divide the grid or cover it.
        shifted: whether this block's windows are shifted by half their side.
    """

    mask: Tensor | None

    def __init__(self, config: SwinConfig, stage: int, grid: tuple[int, int], *, shifted: bool) -> None:
        super().__init__()
        width, num_heads = config.width * 2**stage, config.num_heads[stage]
        self.grid = grid
        self.window = (min(config.window_of(stage), grid[0]), min(config.window_of(stage), grid[1]))
        # Along a side that one window covers, there is no neighbouring window to shift to.
        rows, columns = (
            side // 2 if shifted and side < whole else 0 for side, whole in zip(self.window, grid, strict=True)
        )
        self.shift = (rows, columns)
        mask = shifted_window_mask(grid, self.window, self.shift) if any(self.shift) else None
        self.register_buffer("mask", mask, persistent=False)
        place = Place(self.window, extra_tokens=0, width=width, num_heads=num_heads)
        self.post_norm = config.version == 2
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        encoding = build_encoding(config.encodings_of(stage), place, acts_on="attention")
        self.attention = Attention(width, num_heads, encoding, cosine=config.version == 2)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = MLP(width, config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, R·S, C] to [B, R·S, C]."""
        rows, columns = self.grid
        h = (x if self.post_norm else self.norm1(x)).view(-1, rows, columns, x.shape[-1])
        h = torch.roll(h, (-self.shift[0], -self.shift[1]), dims=(1, 2))
        h = self.attention(window_partition(h, self.window), self.mask)
        h = window_reverse(h, self.window, self.grid)
        h = torch.roll(h, self.shift, dims=(1, 2))
        h = h.reshape(x.shape)
        if self.post_norm:
            x = x + self.norm1(h)
            x = x + self.norm2(self.mlp(x))
        else:
            x = x + h
            x = x + self.mlp(self.norm2(x))
        return x


class PatchMerging(nn.Module):
    """Merge each 2 × 2 tokens into one of twice the width. The four are concatenated column by column, as in Swin."""

    def __init__(self, grid: tuple[int, int], width: int, eps: float, *, post_norm: bool = False) -> None:
        super().__init__()
        self.grid = grid
        self.post_norm = post_norm
        self.norm = nn.LayerNorm((2 if post_norm else 4) * width, eps=eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, R·S, C] to [B, R·S/4, 2C]."""
        rows, columns = self.grid
        x = x.view(-1, rows // 2, 2, columns // 2, 2, x.shape[-1])
        x = x.permute(0, 1, 3, 4, 2, 5).reshape(x.shape[0], rows * columns // 4, -1)  # [B, R·S/4, 4C]
        out: Tensor = self.norm(self.reduction(x)) if self.post_norm else self.reduction(self.norm(x))
        return out


class SwinStage(nn.Module):
    """Blocks on one grid, every second one with shifted windows, after a patch merging except in the first stage."""

    def __init__(self, config: SwinConfig, index: int, patch_grid: tuple[int, int]) -> None:
        super().__init__()
        factor = 2**index
        grid = (patch_grid[0] // factor, patch_grid[1] // factor)
        self.merge = None
        if index:
            before, width = (grid[0] * 2, grid[1] * 2), config.width * factor // 2
            self.merge = PatchMerging(before, width, config.layer_norm_eps, post_norm=config.version == 2)
        self.blocks = nn.Sequential(
            *(SwinBlock(config, index, grid, shifted=i % 2 == 1) for i in range(config.depths[index]))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map the previous stage's [B, 4N, C/2] (the first stage: [B, N, C]) to [B, N, C]."""
        if self.merge is not None:
            x = self.merge(x)
        out: Tensor = self.blocks(x)
        return out


class Swin(nn.Module):
    """Swin transformer with any position encoding: on the patches, or on the scores of every window.

    Raises:
        ValueError: the window or the merging does not divide a stage's grid, options given per stage differ in number,
            or an encoding or option is unknown.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.image_size, config.patch_size, config.width)
        _check_grids(config, self.patch_embed.grid)
        place = Place(self.patch_embed.grid, extra_tokens=0, width=config.width, num_heads=config.num_heads[0])
        self.position = build_encoding(config.encodings, place, acts_on="tokens")
        self.embed_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.stages = nn.Sequential(
            *(SwinStage(config, index, self.patch_embed.grid) for index in range(len(config.depths)))
        )
        last_width = config.width * 2 ** (len(config.depths) - 1)
        self.norm = nn.LayerNorm(last_width, eps=config.layer_norm_eps)
        self.head = nn.Linear(last_width, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images [B, 3, height, width] to logits [B, classes]."""
        x: Tensor = self.embed_norm(self.patch_embed(images))
        embedding = self.position.embedding()
        if embedding is not None:
            x = x + embedding
        x = self.norm(self.stages(x)).mean(dim=1)
        logits: Tensor = self.head(x)
        return logits


def _check_grids(config: SwinConfig, grid: tuple[int, int]) -> None:
    stages = len(config.depths)
    if len(config.num_heads) != stages:
        raise ValueError(f"depths {config.depths} and num_heads {config.num_heads} must have the same number of stages")
    for name, value in (("window_size", config.window_size), ("stage_options", config.stage_options)):
        if isinstance(value, tuple) and value and len(value) != stages:
            raise ValueError(f"{name} has {len(value)} stages, depths {stages}; give one value for each stage, or none")
    rows, columns = grid
    for stage in range(stages):
        if stage:
            if rows % 2 or columns % 2:
                raise ValueError(f"stage {stage} merges 2×2 tokens of a {rows}×{columns} grid. {_remedy(config)}")
            rows, columns = rows // 2, columns // 2
        window = config.window_of(stage)
        if any(side > window and side % window for side in (rows, columns)):
            raise ValueError(
                f"window size {window} does not divide the {rows}×{columns} grid of stage {stage} "
                f"(image {config.image_size[0]}×{config.image_size[1]}, patch {config.patch_size}). {_remedy(config)}"
            )


def _remedy(config: SwinConfig) -> str:
    step = config.patch_size * math.lcm(*(config.window_of(i) * 2**i for i in range(len(config.depths))))
    return f"Choose an image size that is a multiple of {step}, or another window size"
