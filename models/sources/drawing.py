"""Random weights for any module, drawn from a seed so that every parameter affects the logits.

In a freshly initialised network some parts have no effect: tables, gates and the last norm of a branch are 0, layer
scales 1e-5. The distribution depends on the role of a parameter, which its module determines:

- norms: scale 1 + 0.1·noise, shift 0.1·noise;
- running statistics: those of the network's own activations, the mean shifted by 0.1·noise standard deviations, the
  variance multiplied by 2 to 6. With arbitrary statistics, activations of a network that has batch norms only do not
  stay near 1. With smaller factors (0.5 to 1.5), activations are large on images of another kind, attention is sharp,
  and several layers amplify a difference of 1e-7 to 0.2 (timm's LeViT);
- other weights of `torch.nn`, and every parameter named `weight` with axes to sum over: noise / √fan-in;
- tables, tokens, temperatures (everything else with more than one axis): initial value + 0.5·noise;
- vectors and scalars: initial value + 0.1·noise; layer scales (one small value throughout) are set to 0.5 first.
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
    """Seed the random state inside the context, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def draw(network: nn.Module, seed: int) -> None:
    """Give every parameter of `network` a value that affects the logits.

    The result depends on the initial values: build the network under `seeded`, or the same seed may give other weights.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: set[int] = set()
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) not in drawn and parameter.is_floating_point() and parameter.numel():
                    drawn.add(id(parameter))  # a tied parameter has more than one owner
                    noise = torch.randn(parameter.shape, generator=generator).to(parameter.device)
                    parameter.copy_(_value(module, name, parameter, noise))


@contextmanager
def settling(network: nn.Module, seed: int) -> Iterator[None]:
    """Inside the context, set the running statistics of each norm of `network` from its input.

    The network is run once, in eval mode; each norm is set before the layers after it run.
    """
    generator = torch.Generator().manual_seed(seed)

    def settle(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _NormBase)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        channels = inputs[0].transpose(0, 1).flatten(1)  # [C, everything else]
        variance, mean = torch.var_mean(channels, dim=1, correction=0)
        variance = variance.clamp(min=0.03 * float((variance + mean**2).mean()))  # few images leave channels inactive
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

    Statistics of four images fit other images so badly that activations grow from layer to layer in LeViT.
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
    if 0 < float(start.abs().max()) <= _SHUT and bool((start == start.flatten()[0]).all()):  # an initial layer scale
        start = torch.full_like(start, 0.5)
        return start + 0.1 * noise
    return start + (0.5 if parameter.ndim > 1 else 0.1) * noise
