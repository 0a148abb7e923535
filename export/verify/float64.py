"""A network run in float64 throughout, also where its own code asks for float32.

Parameters, buffers and torch's default type are turned to float64. That leaves `.float()`, `dtype=torch.float32` and
tensors kept in plain attributes: there one half of the numbers would be float32 and the other not, which fails, or
passes and is no float64. They are turned where every operator passes, below Python: in a dispatch mode.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
"""Not the half types: a network that asks for them rounds on purpose, and its graph does as well."""

_REINTERPRET = torch.ops.aten.view.dtype
"""The same bytes as numbers of another type, which must be the type that was asked for."""


@contextmanager
def in_float64(network: nn.Module) -> Iterator[None]:
    """Turn a network's numbers to float64, and back to what they were: float64 holds every float32 exactly."""
    numbers = [
        (tensor, tensor.dtype) for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()
    ]
    default = torch.get_default_dtype()
    try:
        for tensor, _ in numbers:
            tensor.data = tensor.data.double()
        torch.set_default_dtype(torch.float64)  # of what the network makes while it runs
        with _Widened():  # type: ignore[no-untyped-call]  # torch annotates it in part
            yield
    finally:
        torch.set_default_dtype(default)
        for tensor, dtype in numbers:
            tensor.data = tensor.data.to(dtype)


class _Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operator that is asked for float32 makes float64, and reads what is float32 as float64.

    A tensor that the operator writes to, or of which it returns a view, stays what it is: a copy would lose what is
    written. The operator that reads the view reads it as float64.
    """

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        named = kwargs or {}
        if func is _REINTERPRET:
            return func(*args, **named)
        expected = {argument.name: argument for argument in func._schema.arguments}
        positional = [_widen(value, argument) for value, argument in zip(args, expected.values(), strict=False)]
        return func(*positional, **{name: _widen(value, expected[name]) for name, value in named.items()})


def _widen(value: object, argument: torch.Argument) -> object:
    """Return what an operator is given for an argument, in float64 where it was float32."""
    if argument.alias_info is not None:
        return value
    if isinstance(value, Tensor):
        return value.to(_WIDER.get(value.dtype, value.dtype))
    if isinstance(value, torch.dtype):
        return _WIDER.get(value, value)
    if isinstance(value, list | tuple):
        return [_widen(item, argument) for item in value]
    return value
