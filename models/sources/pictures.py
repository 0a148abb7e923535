"""Synthetic images with the statistics of photographs: colours, shapes of every size, and grain.

Noise alone does not suffice: all tokens are similar after the first layers, and networks with running statistics
produce activations that no photograph produces.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDES = (2, 4, 8, 16, 32, 64)  # grids of cells; each has 0.6 of the contrast of the one before
_FALLS = 0.6
_COLOUR = 0.7
_GRAIN = (0.02, 0.3)  # of the first and the last image


def photographs(count: int, image_size: tuple[int, int], seed: int) -> Tensor:
    """Return uint8 [count, height, width, 3]; the result depends on the seed only."""
    generator = torch.Generator().manual_seed(seed)
    levels = _COLOUR * torch.randn(count, 3, 1, 1, generator=generator)
    for octave, side in enumerate(_SIDES):
        shapes = torch.randn(count, 3, side, side, generator=generator)
        levels = levels + _FALLS**octave * F.interpolate(shapes, size=image_size, mode="bicubic")
    grain = torch.linspace(*_GRAIN, count).reshape(count, 1, 1, 1)
    levels = levels + grain * torch.randn(count, 3, *image_size, generator=generator)
    return (255 * levels.sigmoid()).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def noise(count: int, image_size: tuple[int, int], seed: int) -> Tensor:
    """Return uint8 [count, height, width, 3] of independent values."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *image_size, 3), dtype=torch.uint8, generator=generator)
