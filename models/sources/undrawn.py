"""Construction of networks without random initialisation, for networks with loaded weights."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWS: frozenset[Callable[..., object]] = frozenset(
    {Tensor.erfinv_, Tensor.normal_, Tensor.uniform_}
    | {nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_}  # these three call the mode themselves
)


class UndrawnParameters(TorchFunctionMode):
    """Mode in which parameters are not filled with random numbers: their memory stays uninitialised.

    Random initialisation takes 1 s for 40 million numbers, and a checkpoint has all parameters. Buffers are
    initialised, because some of them are not in checkpoints.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        return target if func in _DRAWS and isinstance(target, nn.Parameter) else func(*args, **kwargs)
