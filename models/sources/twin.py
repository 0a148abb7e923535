"""Copy of a network that shares its tensors but no other attributes."""

import copy
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from models.sources.base import SourceError, one_line

_KINDS = 100
"""Maximum number of attempts; each finds one more object, or type of object, that cannot be copied."""


def share_tensors(network: nn.Module) -> nn.Module:
    """Copy a network: the modules are copied, the parameters and buffers are shared.

    A tensor computed from parameters and stored as an attribute (the weight of the old weight_norm, a cached bias) is
    shared too, detached. Objects that cannot be copied and are not modules (locks, files, generators) are shared.

    Raises:
        SourceError: a module cannot be copied; the message names its path.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    attributes = [value for module in network.modules() for value in vars(module).values()]
    shared |= {id(value): value.detach() for value in attributes if isinstance(value, Tensor) and not value.is_leaf}
    for _ in range(_KINDS):
        try:
            return copy.deepcopy(network, dict(shared))
        except Exception as error:  # noqa: BLE001 -- user objects may raise anything; reported below
            culprit, failed = _not_copied(error.__traceback__), error
        if culprit is None or isinstance(culprit, nn.Module):
            break
        if isinstance(culprit, Tensor):
            shared[id(culprit)] = culprit.detach()
        else:
            shared |= {id(value): value for value in (culprit, *attributes) if type(value) is type(culprit)}
    raise SourceError(_refusal(network, culprit, failed)) from failed


def _not_copied(traceback: TracebackType | None) -> object:
    """Return the argument of the innermost call of copy.deepcopy."""
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
        f"{type(network).__name__} cannot be copied, which the export requires: {where} raises {one_line(error)}; "
        "make copy.deepcopy(network) work"
    )


def script_modules(network: nn.Module) -> list[str]:
    """Return the paths of TorchScript modules in a network; "" is the network itself."""
    return [path for path, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
