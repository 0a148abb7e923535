"""Weights of this project's own networks: loading them strictly, and drawing random ones."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from artifact import Accuracy
from models.encodings import Encoding
from models.sources.base import SourceError
from models.sources.checkpoints.advice import Advice
from models.sources.checkpoints.fit import check_fit


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], origin: Path | str) -> None:
    """Put every tensor of `state`, which has the network's keys, into `network`.

    Raises:
        SourceError: see `check_fit`.
    """
    check_fit(state, network.state_dict(), origin, Advice("posbake:"))
    network.load_state_dict(dict(state))


def read_accuracy(metadata: dict[str, str], origin: Path) -> Accuracy | None:
    """Return the accuracy that training wrote into a checkpoint's metadata, if it did.

    Raises:
        SourceError: it is there, but is not {"dataset", "top1", "count"}.
    """
    if "accuracy" not in metadata:
        return None
    try:
        return Accuracy.model_validate(json.loads(metadata["accuracy"]))
    except (ValidationError, ValueError) as error:
        raise SourceError(f"{origin}: its metadata has an accuracy that cannot be read: {error}") from error


def randomise(network: nn.Module, seed: int) -> None:
    """Give every parameter a value that matters, position tables above all: fresh ones are zero or tiny.

    A comparison of two networks whose tables are zero proves nothing about their position encoding.
    """
    generator = torch.Generator().manual_seed(seed)
    tables = {id(p) for module in network.modules() if isinstance(module, Encoding) for p in module.parameters()}
    scales = {id(module.weight) for module in network.modules() if isinstance(module, nn.LayerNorm)}
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in tables:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_(0.1 * noise + (1 if id(parameter) in scales else 0))
