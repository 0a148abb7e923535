"""Folding into products with constant weights: MatMul, Gemm and Conv.

(x·f + s)·W + b = x·(f·W) + (s·W + b)        (x·W + b)·f = x·(W·f) + b·f
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.carry import Affine, aligned, known_sizes
from export.passes.exact import NotFoldedError, exact, multiply, own, replace
from export.passes.values import Array, add_constant, is_constant, name_of, only_use

Step = Callable[[], None]
"""Validated change of the graph. The steps of a fold are applied only if all of them are possible."""


class Product(NamedTuple):
    """A product of x with a constant weight.

    Attributes:
        model: the graph.
        node: the operator.
        weight: the constant; no other node reads it.
        axis: channel axis of x.
    """

    model: ir.Model
    node: ir.Node
    weight: ir.Value
    axis: int


def product_of(model: ir.Model, node: ir.Node) -> Product | None:
    """Return a MatMul, Gemm or Conv of the node's first input and a constant weight as a Product; None for other nodes.

    Raises:
        NotFoldedError: the weight cannot be changed.
    """
    weight = node.inputs[1] if node.domain == "" and node.op_type in _AXES and len(node.inputs) > 1 else None
    if weight is None or not is_constant(weight) or is_constant(node.inputs[0]):
        return None
    if node.op_type != "Conv" and len(known_sizes(weight)) != 2:
        return None
    if len(weight.uses()) > 1:
        raise NotFoldedError("another node also reads the weight")
    if weight.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("the weight is not float32")
    factors = {node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")}
    if node.attributes.get_int("transA", 0) or factors != {1.0}:
        raise NotFoldedError("Gemm with transA, alpha or beta")
    return Product(model, node, weight, _AXES[node.op_type])


def read(product: Product, affine: Affine) -> list[Step]:
    """Return the steps that fold a factor and shift of a product's input x into its weight and bias.

    Raises:
        NotFoldedError: the fold is impossible.
    """
    factor, shift = (_of_channels(part, product, product.node.inputs[0]) for part in affine)
    steps: list[Step] = []
    if not np.isfinite(factor).all() or not np.isfinite(shift).all():
        raise NotFoldedError("the constant is not finite")
    if shift.any():
        steps.append(_add_to_bias(product, lambda: _of_inputs(product, shift)))
    if (factor != 1).any():
        steps.append(lambda: multiply(product.weight, _for_inputs(product, factor)))
    return steps


def scale_results(product: Product, factor: Array) -> list[Step]:
    """Return the steps that multiply a product's result by a factor per channel.

    Raises:
        NotFoldedError: the fold is impossible, for instance because the factor varies along another axis.
    """
    channels = _of_channels(factor, product, product.node.outputs[0])
    bias = _own_bias(product.node)
    steps: list[Step] = [lambda: multiply(product.weight, _for_results(product, channels))]
    if bias is not None:
        steps.append(lambda: multiply(own(product.model, product.node, 2), channels))
    return steps


def add_to_results(product: Product, shift: Array) -> list[Step]:
    """Return the steps that add a shift per channel to the bias input of a product.

    Raises:
        NotFoldedError: the fold is impossible, for instance because the shift varies along another axis.
    """
    channels = _of_channels(shift, product, product.node.outputs[0])
    if product.node.op_type == "MatMul":
        raise NotFoldedError("MatMul has no bias input")
    return [_add_to_own_bias(product, lambda: channels)]


_AXES = {"MatMul": -1, "Gemm": -1, "Conv": 1}
"""Channel axis, by operator."""


def _of_channels(array: Array, product: Product, value: ir.Value | None) -> Array:
    """Return an array that broadcasts to a value as [C]."""
    sizes = known_sizes(value)
    axis = product.axis % len(sizes)
    if any(size > 1 for index, size in enumerate(array.shape) if index != axis):
        raise NotFoldedError("the constant varies along other axes than the channels of the product")
    return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), sizes[axis]))


def _is_transposed(product: Product) -> bool:
    return bool(product.node.attributes.get_int("transB", 0))


def _for_inputs(product: Product, factor: Array) -> Array:
    """Return factors of the input channels, broadcastable to the weight [in, out], [out, in] or [out, in / G, …]."""
    if product.node.op_type != "Conv":
        return factor[None] if _is_transposed(product) else factor[:, None]
    groups, out, *kernel = _convolution(product)
    of_group = np.repeat(factor.reshape(groups, -1), out // groups, axis=0)
    return of_group.reshape(out, -1, *(1 for _ in kernel))


def _for_results(product: Product, factor: Array) -> Array:
    if product.node.op_type != "Conv":
        return factor[:, None] if _is_transposed(product) else factor[None]
    return factor.reshape(-1, *(1,) * (len(known_sizes(product.weight)) - 1))


def _of_inputs(product: Product, shift: Array) -> Array:
    """Return the product [out] of a shift [in] and the weight."""
    weight = exact(product.weight)
    if product.node.op_type != "Conv":
        return np.asarray(weight @ shift if _is_transposed(product) else shift @ weight)
    weight *= _for_inputs(product, shift)
    return np.asarray(weight.reshape(len(weight), -1).sum(axis=1))


def _convolution(product: Product) -> tuple[int, ...]:
    """Return the groups, output channels and kernel size of a convolution."""
    out, _, *kernel = known_sizes(product.weight)
    return product.node.attributes.get_int("group", 1), out, *kernel


def _own_bias(node: ir.Node) -> ir.Value | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        raise NotFoldedError("the bias depends on the image")
    return bias


def _add_to_bias(product: Product, shift: Callable[[], Array]) -> Step:
    """Return the step that adds a shift to a product's bias; the shift is computed when the step is applied."""
    node = product.node
    if node.op_type == "Conv" and (
        any(node.attributes.get_ints("pads", ()))
        or node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    ):
        raise NotFoldedError("the convolution's zero padding must not be shifted")
    if node.op_type != "MatMul":
        return _add_to_own_bias(product, shift)
    add, position = bias_of(node)
    return lambda: _grow(product.model, add, position, shift())


def _add_to_own_bias(product: Product, shift: Callable[[], Array]) -> Step:
    node, model = product.node, product.model
    bias = _own_bias(node)

    def step() -> None:
        if bias is None:
            added = shift()
            name = f"{name_of(product.weight).removesuffix('.weight')}.bias"
            constant = add_constant(model, added.astype(np.float32), name)
            node.resize_inputs(3)
            node.replace_input_with(2, constant)
            replace(constant, added)
        else:
            _grow(model, node, 2, shift())

    return step


def _grow(model: ir.Model, node: ir.Node, position: int, shift: Array) -> None:
    bias = own(model, node, position)
    replace(bias, exact(bias) + shift)


def bias_of(node: ir.Node) -> tuple[ir.Node, int]:
    """Return the Add that is the only reader of a MatMul, and the position of its constant.

    Raises:
        NotFoldedError: the MatMul has no bias.
    """
    add, read_as = only_use(node.outputs[0]) or (None, 0)
    if add is None or add.op_type != "Add":
        raise NotFoldedError("the product has no bias, and a new Add would cost more")
    position = 1 - read_as
    bias = add.inputs[position]
    if bias is None or not is_constant(bias) or bias.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("the product has no bias, and a new Add would cost more")
    aligned(exact(bias), node.outputs[0])
    return add, position
