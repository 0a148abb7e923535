"""Constants in float64 during folding, rounded to float32 once.

A folded weight is kept as the stored float32 array and its float64 factors, so no float64 copy of a network is made.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from export.passes.values import Array, add_constant, array_of, input_of, name_of

_EXACT = "posbake.exact"
"""Metadata key for the unrounded value of a constant."""
FOLDED = "posbake.folded"
"""Metadata key of constants into which others were folded."""


class NotFoldedError(Exception):
    """A fold was declined; the message states the reason."""


@dataclass(frozen=True)
class _Exact:
    """Product of `base`, in float32 as stored or in float64, and all factors."""

    base: Array
    factors: tuple[Array, ...] = ()

    def compute(self) -> Array:
        total = self.base.astype(np.float64)
        for factor in self.factors:
            total *= factor
        return total


def exact(value: ir.Value) -> Array:
    """Return a constant in float64, including everything folded into it."""
    return _kept(value).compute()


def multiply(value: ir.Value, factor: Array) -> None:
    """Multiply a constant by a factor that broadcasts to its shape."""
    kept = _kept(value)
    _keep(value, _Exact(kept.base, (*kept.factors, factor)))


def replace(value: ir.Value, array: Array) -> None:
    """Replace a constant by a float64 array of any shape."""
    value.shape = ir.Shape(array.shape)
    _keep(value, _Exact(array))


def own(model: ir.Model, node: ir.Node, position: int) -> ir.Value:
    """Return the constant at an input of a node, replaced by a copy if it has other readers."""
    value = input_of(node, position)
    if len(value.uses()) == 1:
        return value
    copy = add_constant(model, array_of(value), name_of(value))
    copy.meta.update(value.meta)
    if _EXACT in value.meta:
        _keep(copy, value.meta[_EXACT])
    node.replace_input_with(position, copy)
    return copy


class RoundConstants(ir.passes.InPlacePass):
    """Store the folded constants, rounded once from float64 to their dtype, C-contiguous."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Round all changed constants."""
        folded = [value for value in model.graph.initializers.values() if _EXACT in value.meta]
        for value in folded:
            value.const_value = ir.tensor(np.ascontiguousarray(array_of(value)), name=value.name)
            del value.meta[_EXACT]
            value.meta[FOLDED] = True
        return ir.passes.PassResult(model, bool(folded))


def _kept(value: ir.Value) -> _Exact:
    kept = value.meta.get(_EXACT)
    return kept if isinstance(kept, _Exact) else _Exact(array_of(value))


def _keep(value: ir.Value, numbers: _Exact) -> None:
    """Set a constant's unrounded value; until `RoundConstants` stores it, each read rounds it."""
    dtype, shape = value.dtype, value.shape
    assert dtype is not None, "a constant has a type"
    assert isinstance(shape, ir.Shape), "a constant has a shape"

    def rounded() -> ir.TensorProtocol:
        return ir.tensor(numbers.compute().astype(dtype.numpy()))

    value.meta[_EXACT] = numbers
    value.const_value = ir.LazyTensor(rounded, dtype, shape, name=value.name)
