"""Other libraries' networks for the tests: their weights drawn so that all of them matter, and ours made from them."""

import math

import torch
from torch import Tensor, nn

from models import build_network
from models.sources.checkpoints.buffers import without_computed
from models.sources.families import Family
from models.sources.weights import load_strictly

TABLES = ("relative_position_bias_table", "cpb_mlp", "position_bias_mlp")
"""In the names of Swin's position tables, and of the networks that stand for them."""


def scramble(model: nn.Module, seed: int) -> nn.Module:
    """Draw every parameter of `model`, position tables wide, and return it in eval mode."""
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


def beyond_the_limit(model: nn.Module) -> nn.Module:
    """Set the logit scale of one head in each block above the 100 at which Swin v2 cuts it, and return `model`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("logit_scale"):
                parameter[0] = math.log(200)
    return model


def without_tables(model: nn.Module) -> nn.Module:
    """Set the position tables of `model` to zero and return it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(table in name for table in TABLES):
                parameter.zero_()
    return model


def in_ours(model: nn.Module, family: Family, image_size: tuple[int, int]) -> nn.Module:
    """Return our network with the weights of `model`."""
    rehosted = family(model, image_size)
    assert rehosted is not None
    ours = build_network(rehosted.config)
    load_strictly(ours, rehosted.map_state(without_computed(rehosted.adopt(model.state_dict()))), "the library")
    return ours.eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits, of a transformers network too."""
    with torch.no_grad():
        out = network(images)
    logits: Tensor = getattr(out, "logits", out)
    return logits


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest logit."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
