"""Run of a network in float64 throughout, even where its code requests float32.

Parameters, buffers and torch's default type are converted to float64. `.float()`, `dtype=torch.float32` and tensors in
plain attributes would still mix float32 and float64, which fails or loses precision. A dispatch mode converts them at
every operator.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
"""Converted types. Half types are kept: a network that requests them rounds on purpose, and so does its graph."""

_REINTERPRET = torch.ops.aten.view.dtype
"""Reinterpretation of bytes, which must have the requested type."""


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
        torch.set_default_dtype(torch.float64)  # of what the network makes while it runs
        with _Widened():  # type: ignore[no-untyped-call]  # torch annotates it in part
            yield
    finally:
        torch.set_default_dtype(default)
        for tensor, dtype in numbers:
            tensor.data = tensor.data.to(dtype)


class _Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mode in which operators compute in float64 instead of float32.

    A tensor that an operator writes to, or returns a view of, keeps its type, because a copy would lose the write. It
    is converted by the operators that read it.
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
