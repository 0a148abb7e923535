"""Execution of a network in float64, even where its code requests float32.

Parameters, buffers and torch's default dtype are converted to float64. `.float()`, `dtype=torch.float32` and tensors in
plain attributes would still mix float32 and float64, so a dispatch mode converts the arguments of every operator.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
"""Converted dtypes. Half precision is kept: if a network requests it, its graph rounds in the same way."""

_REINTERPRET = torch.ops.aten.view.dtype
"""Reinterpretation of bytes, which requires the original dtypes."""


@contextmanager
def in_float64(network: nn.Module) -> Iterator[None]:
    """Convert a network to float64 inside the context, and back afterwards, which is exact."""
    numbers = [
        (tensor, tensor.dtype) for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()
    ]
    default = torch.get_default_dtype()
    try:
        for tensor, _ in numbers:
            tensor.data = tensor.data.double()
        torch.set_default_dtype(torch.float64)  # for tensors that the network creates in forward
        with _Widened():  # type: ignore[no-untyped-call]  # partly annotated by torch
            yield
    finally:
        torch.set_default_dtype(default)
        for tensor, dtype in numbers:
            tensor.data = tensor.data.to(dtype)


class _Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which operators compute in float64 instead of float32.

    A tensor that an operator writes to, or returns a view of, keeps its dtype, because a write to a copy would be lost.
    It is converted where other operators read it.
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
    """Return the value of an argument, in float64 instead of float32."""
    if argument.alias_info is not None:
        return value
    if isinstance(value, Tensor):
        return value.to(_WIDER.get(value.dtype, value.dtype))
    if isinstance(value, torch.dtype):
        return _WIDER.get(value, value)
    if isinstance(value, list | tuple):
        return [_widen(item, argument) for item in value]
    return value
