"""Small networks for tests, with oblong images so that swapped rows and columns are detected."""

import torch
from torch import nn

from models import SwinConfig, ViTConfig

VIT_CLS = ViTConfig(image_size=(32, 48), patch_size=8, width=24, depth=2, num_heads=3, num_classes=10, pool="cls")
VIT_MEAN = VIT_CLS.model_copy(update={"pool": "mean"})
SWIN = SwinConfig(
    image_size=(32, 64),
    patch_size=4,
    width=16,
    depths=(2, 2),
    num_heads=(2, 4),
    window_size=4,
    num_classes=10,
    encodings={"swin-table": {}},
)


def position_effect(network: nn.Module) -> float:
    """Return the largest change of the logits, relative to the largest logit, when halves of the image are swapped."""
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)).double()
    swapped = torch.cat([images[:, :, 16:], images[:, :, :16]], dim=2)
    network = network.double().eval()
    with torch.no_grad():
        before, after = network(images), network(swapped)
    return float((before - after).abs().max() / before.abs().max())
