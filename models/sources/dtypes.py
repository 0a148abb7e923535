"""Types of a network's weights."""

import torch
from torch import nn


def describe_other_types(network: nn.Module) -> str:
    """Return what weights are not float32 and what to do, as a sentence with a space before it, or ""."""
    found: dict[torch.dtype, str] = {}
    for path, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            found.setdefault(parameter.dtype, path)
    if not found:
        return ""
    named = " and ".join(f"{str(dtype).removeprefix('torch.')} ({path})" for dtype, path in found.items())
    return (
        f". The network has weights in {named}, while images are float32: call .float() on it before it is returned; "
        "--precision fp16 makes a graph of half precision"
    )
