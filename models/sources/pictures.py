"""Synthetic pictures with what photographs have: colours, shapes of every size, and grain.

Noise alone is no picture: its shapes are one pixel large, so that after the first layers all tokens are alike, and what
networks with running statistics compute of it they never compute of a photograph.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDES = (2, 4, 8, 16, 32, 64)  # of the grids whose cells are the shapes; each has 0.6 of the last one's contrast
_FALLS = 0.6
_COLOUR = 0.7
_GRAIN = (0.02, 0.3)  # of the first picture and the last


def photographs(count: int, image_size: tuple[int, int], seed: int) -> Tensor:
    """Return uint8 [count, height, width, 3]; the seed alone settles them."""
    generator = torch.Generator().manual_seed(seed)
    levels = _COLOUR * torch.randn(count, 3, 1, 1, generator=generator)
    for octave, side in enumerate(_SIDES):
        shapes = torch.randn(count, 3, side, side, generator=generator)
        levels = levels + _FALLS**octave * F.interpolate(shapes, size=image_size, mode="bicubic")
    grain = torch.linspace(*_GRAIN, count).reshape(count, 1, 1, 1)
    levels = levels + grain * torch.randn(count, 3, *image_size, generator=generator)
    return (255 * levels.sigmoid()).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def noise(count: int, image_size: tuple[int, int], seed: int) -> Tensor:
    """Return uint8 [count, height, width, 3], every number independent of the others."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *image_size, 3), dtype=torch.uint8, generator=generator)
