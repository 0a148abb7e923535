"""Folding of factors and shifts into the products that read a value or produce it, through data movement."""

from collections import defaultdict

import numpy as np
import onnx_ir as ir

from export.passes.carry import (
    Affine,
    aligned,
    carry_back,
    carry_forward,
    carry_through_concat,
    keeps_all,
    known_sizes,
    moves,
    of_rank,
)
from export.passes.exact import NotFoldedError, exact, multiply, own, replace
from export.passes.operators import axis_of
from export.passes.products import Step, product_of, read, scale_results
from export.passes.values import Array, input_of, is_constant


def fold_below(model: ir.Model, value: ir.Value, affine: Affine) -> list[Step]:
    """Return the steps that fold x·factor + shift into the weights and biases of all products that read it.

    Args:
        model: the graph.
        value: the value to whose readers the factor and shift are carried.
        affine: factor and shift.

    Raises:
        NotFoldedError: a reader is not a product, or its weight or bias cannot absorb them.
    """
    _check_readers(model, value)
    steps: list[Step] = []
    joined: dict[ir.Node, dict[int, Affine]] = defaultdict(dict)
    waiting = [(value, affine)]
    while waiting:
        value, affine = waiting.pop()
        if value.is_graph_output():
            raise NotFoldedError("a graph output would change")
        if not affine.shifts and bool((affine.factor == 1).all()):
            continue  # an output of a Split that the constant does not affect
        for node, position in value.uses():
            product = product_of(model, node) if position == 0 else None
            if product is not None:
                steps += read(product, affine)
            elif node.op_type == "Concat":
                joined[node][position] = affine
                if len(joined[node]) == len(node.inputs):
                    parts = joined.pop(node)
                    waiting.append((node.outputs[0], carry_through_concat(node, [parts[i] for i in sorted(parts)])))
            elif position == 0 and moves(node):
                waiting.extend(zip(node.outputs, carry_forward(node, affine), strict=True))
            else:
                raise _read_by(node)
    if joined:
        raise NotFoldedError("concatenated with a value that is not scaled or shifted")
    if not steps:
        raise NotFoldedError("not read by any product with a weight")
    return steps


def _check_readers(model: ir.Model, value: ir.Value) -> None:
    """Raise NotFoldedError for other kinds of readers, before arrays, which may be large, are carried to them."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        for node, position in value.uses():
            if position == 0 and keeps_all(node):
                waiting.append(node.outputs[0])
            elif node.op_type != "Concat" and (position != 0 or not (moves(node) or product_of(model, node))):
                raise _read_by(node)


def _read_by(node: ir.Node) -> NotFoldedError:
    return NotFoldedError(f"read by {node.op_type}, not only by products with weights")


def fold_above(model: ir.Model, value: ir.Value, factor: Array, reader: ir.Node) -> list[Step]:
    """Return the steps that fold a factor of `value`, which `reader` reads, into the constants that produce `value`.

    The factor is carried up through data movement and through added constants, which are multiplied too, to a weight, a
    norm's scale and bias, or a constant factor.

    Raises:
        NotFoldedError: no such constant is found, or another node reads a value that would change.
    """
    _check_other_readers(value, factor, reader)
    node = value.producer()
    if node is None or node.domain != "":
        raise NotFoldedError("not produced by a product with a weight")
    data = node.inputs[0]
    if moves(node) and data is not None:
        return fold_above(model, data, carry_back(node, node.outputs.index(value), factor), node)
    product = product_of(model, node)
    if product is not None:
        return scale_results(product, factor)
    if node.op_type in ("Add", "Sub", "Mul") or (node.op_type == "Div" and is_constant(node.inputs[1])):
        return _through_arithmetic(model, node, factor)
    if node.op_type == "LayerNormalization":
        return _into_norm(model, node, factor)
    if node.op_type == "MatMul":
        return _into_operand(model, node, factor)
    raise NotFoldedError(f"produced by {node.op_type}, not by a product with a weight")


def _check_other_readers(value: ir.Value, factor: Array, reader: ir.Node) -> None:
    """Raise NotFoldedError unless all other readers read only elements that are multiplied by 1."""
    if value.is_graph_output():
        raise NotFoldedError("a graph output would change")
    multiplied = Affine(factor, np.zeros((1,) * factor.ndim))
    readers = [use.node for use in value.uses()]
    if readers.count(reader) > 1:
        raise NotFoldedError(f"read twice by {reader.op_type}")
    for node, position in value.uses():
        if node is reader:
            continue
        passes = position == 0 and moves(node)
        if not passes or any((part.factor != 1).any() for part in carry_forward(node, multiplied)):
            raise NotFoldedError(f"also read by {node.op_type}")


def _through_arithmetic(model: ir.Model, node: ir.Node, factor: Array) -> list[Step]:
    """Fold by (x + c)·f = x·f + c·f or (x·c)·f = x·(c·f)."""
    constants = [position for position, value in enumerate(node.inputs) if is_constant(value)]
    if len(constants) != 1:
        raise NotFoldedError(f"produced by {node.op_type} of two tensors")
    position = constants[0]
    value, constant = input_of(node, 1 - position), input_of(node, position)
    if constant.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("the constant is not float32")
    array = exact(constant)
    aligned(array, value)  # raises if x is broadcast to the shape of the constant
    changed = array / factor if node.op_type == "Div" else array * factor
    if changed.size > max(array.size, factor.size) or not np.isfinite(changed).all():
        raise NotFoldedError("the constant would grow or overflow")
    above = [] if node.op_type in ("Mul", "Div") else fold_above(model, value, factor, node)
    return [lambda: replace(own(model, node, position), of_rank(changed, constant)), *above]


def _into_norm(model: ir.Model, node: ir.Node, factor: Array) -> list[Step]:
    """Multiply the scale and bias of a norm over the last axis, [C] each."""
    rank = len(known_sizes(node.outputs[0]))
    if axis_of(node, rank, -1) != rank - 1 or any(size > 1 for size in factor.shape[:-1]):
        raise NotFoldedError("the factor varies along other axes than the norm's channels")
    constants = [position for position, value in enumerate(node.inputs) if position and value is not None]
    if not all(is_constant(node.inputs[position]) for position in constants):
        raise NotFoldedError("the norm's scale depends on the image")
    channels = factor.reshape(-1)

    def step() -> None:
        for position in constants:
            multiply(own(model, node, position), channels)

    return [step]


def _into_operand(model: ir.Model, node: ir.Node, factor: Array) -> list[Step]:
    """Fold by (q·k)·f = (q·f)·k = q·(k·f), if f is uniform within each matrix."""
    if any(size > 1 for size in factor.shape[-2:]):
        raise NotFoldedError("the factor varies within the matrices")
    reasons = []
    for value in node.inputs:
        try:
            if value is None or len(known_sizes(value)) != factor.ndim:
                raise NotFoldedError("the operands are broadcast")
            return fold_above(model, value, aligned(factor, value), node)
        except NotFoldedError as reason:
            reasons.append(str(reason))
    raise NotFoldedError("; ".join(dict.fromkeys(reasons)))
