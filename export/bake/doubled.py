"""A float32 network read as if it were float64, without a copy of all of it.

Folding multiplies weights with each other and is done in float64. A copy of a whole network in float64 is twice its
size; here a weight is converted when it is read, and is gone when what was made of it is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.sources.twin import share_tensors


class _Double(nn.Module):
    """A parametrization: what is kept, as float64."""

    def forward(self, kept: Tensor) -> Tensor:
        return kept.double()


@contextmanager
def read_in_float64(network: nn.Module) -> Iterator[nn.Module]:
    """Yield a twin whose floating parameters and buffers read as float64 inside the block.

    The twin has modules of its own, which afterwards read as they did, but the network's tensors: copy what is to stay.
    """
    twin = share_tensors(network)
    numbers = [
        (module, name)
        for module in twin.modules()
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if tensor.is_floating_point()
    ]
    for module, name in numbers:
        parametrize.register_parametrization(module, name, _Double(), unsafe=True)  # unsafe: the type may change
    yield twin
    for module, name in numbers:
        parametrize.remove_parametrizations(module, name, leave_parametrized=False)
