"""The recipe's one augmentation: every digit a little turned, scaled and moved, as another hand would write it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DEGREES = 10.0
SCALE = 0.1
SHIFT = 1.5 / 32  # of the image's side: 1.5 of 32 pixels


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [B, 3, height, width], each with its own small random turn, scale and shift."""
    count = len(images)

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle, scale, shift = uniform(math.radians(DEGREES)), 1 + uniform(SCALE), uniform(2 * SHIFT, 2)  # sides span −1 … 1
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
