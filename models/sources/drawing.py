"""Weights drawn from a seed for any module, so that each of them shows in the logits.

Fresh networks hide their parts: tables and gates are 0, layer scales 1e-5, the last norm of a branch 0. What is drawn
depends on the role, which the module that owns a parameter determines:

- norms: scale 1 + 0.1·noise, shift 0.1·noise;
- running statistics: what the network computes, the mean moved by 0.1·noise deviations, the variance by a factor of
  2 to 6. With others, nothing in a network that has batch norms only keeps numbers near 1. With smaller ones, what such
  norms yield is large on pictures of another kind; attention between such numbers is sharp, and several layers of it
  amplify a difference of 1e-7 to one of 0.2 (timm's LeViT, factors of 0.5 to 1.5);
- other weights of `torch.nn`, and whatever is called `weight` and has axes to sum over: noise / √fan-in;
- tables, tokens, temperatures (everything else with more than one axis): initial value + 0.5·noise;
- vectors and scalars: initial value + 0.1·noise; layer scales, one small number throughout, are opened to 0.5 first.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from models.sources.pictures import noise, photographs

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_HOLDERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_SHUT = 0.1  # layer scales start at 1e-6 to 0.1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make what is built inside depend on `seed` alone, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def draw(network: nn.Module, seed: int) -> None:
    """Give every parameter of `network` a value that matters.

    Initial values count: build the network under `seeded`, else the same seed may give other weights.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in drawn and parameter.is_floating_point() and parameter.numel():
                    drawn.add(id(parameter))  # a tied one has more than one owner
                    noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
                    parameter.copy_(_value(module, name, parameter, noise))


@contextmanager
def settling(network: nn.Module, seed: int) -> Iterator[None]:
    """Let each norm of `network` that has running statistics take them, inside, from what it is given to normalise.

    The network is run in eval mode, once; each norm settles before what follows it does.
    """
    generator = torch.Generator().manual_seed(seed)

    def settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _NormBase)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        channels = inputs[0].transpose(0, 1).flatten(1)  # [C, everything else]
        variance, mean = torch.var_mean(channels, dim=1, correction=0)
        variance = variance.clamp(min=0.03 * float((variance + mean**2).mean()))  # few images leave some channels dark
        noise = torch.randn(mean.shape, generator=generator)
        norm.running_mean.copy_(mean + 0.1 * noise * variance.sqrt())
        norm.running_var.copy_(variance * (2 + 4 * torch.rand(mean.shape, generator=generator)))

    hooks = [norm.register_forward_pre_hook(settle) for norm in with_statistics(network)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def with_statistics(network: nn.Module) -> list[nn.Module]:
    """Return the norms of `network` that have running statistics."""
    return [norm for norm in network.modules() if isinstance(norm, _NormBase) and norm.running_mean is not None]


def rehearsal_images(image_size: tuple[int, int], seed: int) -> Tensor:
    """Return normalised images [8, 3, height, width]: six like photographs, two of noise.

    Of four, statistics are so much those four's that others grow from layer to layer in some networks (LeViT).
    """
    pixels = torch.cat([photographs(6, image_size, seed), noise(2, image_size, seed)])
    return ((pixels.float() / 255 - 0.45) / 0.225).permute(0, 3, 1, 2)  # about the mean and deviation of ImageNet


def _value(module: nn.Module, name: str, parameter: Tensor, noise: Tensor) -> Tensor:
    if isinstance(module, _NORMS):
        return 0.1 * noise + (1 if name == "weight" else 0)
    layer = any(kind.__module__.startswith("torch.nn.") for kind in type(module).__mro__ if kind not in _HOLDERS)
    if parameter.ndim > 1 and (layer or name == "weight") and not isinstance(module, nn.Embedding):
        return noise / math.sqrt(parameter[0].numel())
    start: Tensor = parameter.float()
    if _is_shut(start):
        start = torch.full_like(start, 0.5)
        return start + 0.1 * noise
    return start + (0.5 if parameter.ndim > 1 else 0.1) * noise


def _is_shut(start: Tensor) -> bool:
    """Return whether `start` is one small number throughout, such as an initial layer scale."""
    return 0 < float(start.abs().max()) <= _SHUT and bool((start == start.flatten()[0]).all())
