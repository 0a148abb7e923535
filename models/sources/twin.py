"""A network of the same tensors, whose other attributes can change without changing those of the first."""

import copy
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from models.sources.base import SourceError, one_line

_KINDS = 100
"""Attempts. Each finds another kind of what cannot be copied, or another object that is not an attribute itself."""


def share_tensors(network: nn.Module) -> nn.Module:
    """Return a twin of a network: modules of its own, the network's parameters and buffers.

    A tensor that was computed from parameters and kept as an attribute (an old weight_norm's weight, a cached bias) is
    shared too, without its history. So is what cannot be copied, and is no module: locks, files, generators.

    Raises:
        SourceError: a module among them refuses to be copied; its path is named.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    attributes = [value for module in network.modules() for value in vars(module).values()]
    shared |= {id(value): value.detach() for value in attributes if isinstance(value, Tensor) and not value.is_leaf}
    for _ in range(_KINDS):
        try:
            return copy.deepcopy(network, dict(shared))
        except Exception as error:  # noqa: BLE001 -- whatever an object of the user's raises; raised below
            culprit, failed = _not_copied(error.__traceback__), error
        if culprit is None or isinstance(culprit, nn.Module):
            break
        if isinstance(culprit, Tensor):
            shared[id(culprit)] = culprit.detach()
        else:
            shared |= {id(value): value for value in (culprit, *attributes) if type(value) is type(culprit)}
    raise SourceError(_refusal(network, culprit, failed)) from failed


def _not_copied(traceback: TracebackType | None) -> object:
    """Return what the innermost call of copy.deepcopy was given."""
    culprit = None
    while traceback is not None:
        if traceback.tb_frame.f_code is copy.deepcopy.__code__:
            culprit = traceback.tb_frame.f_locals["x"]
        traceback = traceback.tb_next
    return culprit


def _refusal(network: nn.Module, culprit: object, error: Exception) -> str:
    places = [path or "the network" for path, module in network.named_modules() if module is culprit]
    where = f"{places[0]} ({type(culprit).__name__})" if places else type(culprit).__name__
    return (
        f"{type(network).__name__} cannot be copied, which its export needs: {where} raises {one_line(error)}; "
        "let copy.deepcopy(network) work"
    )


def script_modules(network: nn.Module) -> list[str]:
    """Return the paths of the modules of a network that are TorchScript; "" is the network itself."""
    return [path for path, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
