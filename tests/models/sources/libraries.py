"""Random weights of library networks, such that every parameter affects the logits, and comparisons of logits."""

import math

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5  # relative to the largest logit; both sides in float32
POSITIONS = ("pos_embed", "position_embedding", "pos_embedding", "relative_position", "rel_pos", "rope.freqs")
"""Parts of the names of position tables."""

TABLES = ("relative_position_bias_table", "cpb_mlp", "position_bias_mlp")
"""Parts of the names of Swin's position tables, and of the MLPs that replace them."""


def scramble(model: nn.Module, seed: int) -> nn.Module:
    """Randomise every parameter of `model`, with large position tables, and return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if any(table in name for table in TABLES):
                parameter.copy_(0.5 * noise)
            elif name.endswith("logit_scale"):
                parameter.copy_(math.log(10) + 0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.1 * noise + ("norm" in name and name.endswith("weight")))
    return model.eval()


def randomise_library(model: nn.Module, seed: int = 5) -> None:
    """Randomise the weights of a library's network: large position tables, scales around 1, no zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if any(word in name for word in POSITIONS):
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                around_one = "norm" in name or "ln" in name or "gamma" in name or "lambda" in name
                parameter.copy_(0.2 * noise + (1 if around_one and not name.endswith("bias") else 0))
    model.eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of a network, including those of transformers."""
    with torch.no_grad():
        out = network(images)
    logits: Tensor = getattr(out, "logits", out)
    return logits


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected logit, in float64."""
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())
