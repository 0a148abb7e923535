"""Training augmentation: small random rotations, scales and shifts, and thinner or thicker strokes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DEGREES = 12.0
SCALE = 0.12
SHIFT = 2 / 32  # share of the image's side
STROKE = 0.5  # largest |ln γ| of ink^γ; γ below 1 darkens grey edges, which thickens strokes


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augment each of the images [B, 3, height, width], dark ink (0) on white paper (1), at random."""
    count = len(images)

    def uniform(limit: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * 2 - 1) * limit

    angle, scale, shift = uniform(math.radians(DEGREES)), 1 + uniform(SCALE), uniform(2 * SHIFT, 2)  # sides span −1 … 1
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    redrawn = 1 - (1 - images) ** uniform(STROKE, 1, 1, 1).exp()
    return F.grid_sample(redrawn, grid, padding_mode="border", align_corners=False)
