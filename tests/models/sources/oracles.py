"""Comparing our network with the library's own forward, on weights that matter."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.build import build_network
from models.encodings import Encoding
from models.sources.families.base import Family, Rehosted
from models.sources.weights import load_strictly
from tests.models.sources.libraries import logits_of, relative_error

TOLERANCE = 1e-5  # of the largest logit: both compute in float32, in another order
DOUBLE_TOLERANCE = 1e-12  # the same in float64: what is left must not be a difference of definition
POSITIONS = ("pos_embed", "position_embedding", "pos_embedding", "relative_position", "rel_pos", "rope.freqs")


def randomise_library(model: nn.Module, seed: int = 5) -> None:
    """Give a library's network weights that matter: wide position tables, scales around 1, nothing zero."""
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


def recognised(model: nn.Module, families: Iterable[Family]) -> Rehosted:
    """Return what the one family that takes `model` says of it."""
    [rehosted] = [found for family in families if (found := family(model, (32, 32))) is not None]
    return rehosted


def ours_of(model: nn.Module, rehosted: Rehosted, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return our network with the library's weights, loaded strictly."""
    network = build_network(rehosted.config).to(dtype)
    load_strictly(network, rehosted.map_state(model.state_dict()), "the library's module")
    return network.eval()


def check_same(model: nn.Module, rehosted: Rehosted, tolerance: float = DOUBLE_TOLERANCE) -> None:
    """Assert that both give the same logits, in float32 and float64, at batches 1, 2 and 3, and that tables matter."""
    for dtype, limit in ((torch.float32, TOLERANCE), (torch.float64, tolerance)):
        ours = ours_of(model.to(dtype), rehosted, dtype)
        for batch in (1, 2, 3):
            images = images_for(rehosted, batch).to(dtype)
            expected = logits_of(model, images)
            assert relative_error(logits_of(ours, images), expected) < limit
    encodings = [module for module in ours.modules() if isinstance(module, Encoding)]
    tables = [tensor for module in encodings for tensor in (*module.parameters(), *module.buffers())]
    assert tables
    with torch.no_grad():
        for table in tables:
            table.zero_()
    # The tables matter, so the comparison above is able to fail.
    assert relative_error(logits_of(ours, images), expected) > 100 * TOLERANCE


def images_for(rehosted: Rehosted, batch: int) -> Tensor:
    """Return normalised images [B, 3, height, width]."""
    return torch.randn(batch, 3, *rehosted.config.image_size, generator=torch.Generator().manual_seed(batch))
