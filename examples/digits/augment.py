"""The recipe's augmentation: every digit a little turned, scaled, moved, and in a thinner or thicker pen."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DEGREES = 12.0
SCALE = 0.12
SHIFT = 2 / 32  # of the image's side: 2 of 32 pixels
STROKE = 0.5  # ink^γ, ln γ up to this: below 1 grey edges darken and strokes thicken


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images [B, 3, height, width] of dark ink (0) on white paper (1), each with its own small changes."""
    count = len(images)

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle, scale, shift = uniform(math.radians(DEGREES)), 1 + uniform(SCALE), uniform(2 * SHIFT, 2)  # sides span −1 … 1
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    redrawn = 1 - (1 - images) ** uniform(STROKE, 1, 1, 1).exp()
    return F.grid_sample(redrawn, grid, padding_mode="border", align_corners=False)
