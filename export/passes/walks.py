"""Walks from a value to the products that read it, and to the product that yields it, through data movement."""

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
from export.passes.exact import NotFoldedError, exact, own, replace
from export.passes.products import Step, product_of, read, scale_results
from export.passes.values import Array, input_of, is_constant


def fold_below(model: ir.Model, value: ir.Value, affine: Affine) -> list[Step]:
    """Return the steps that let all readers of x·factor + shift, which must be products, read x (`value`) instead.

    Raises:
        NotFoldedError: why it cannot.
    """
    _check_readers(model, value)
    steps: list[Step] = []
    joined: dict[ir.Node, dict[int, Affine]] = defaultdict(dict)
    waiting = [(value, affine)]
    while waiting:
        value, affine = waiting.pop()
        if value.is_graph_output():
            raise NotFoldedError("it leaves the graph")
        if not affine.shifts and bool((affine.factor == 1).all()):
            continue  # another output of a Split
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
                raise NotFoldedError(f"{node.op_type} reads it, not only products with weights")
    if joined:
        raise NotFoldedError("it is put together with something else")
    if not steps:
        raise NotFoldedError("no product reads it")
    return steps


def _check_readers(model: ir.Model, value: ir.Value) -> None:
    """Raise NotFoldedError for other kinds of readers before factors, which may be large, are carried to them."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        for node, position in value.uses():
            if position == 0 and keeps_all(node):
                waiting.append(node.outputs[0])
            elif node.op_type != "Concat" and (position != 0 or not (moves(node) or product_of(model, node))):
                raise NotFoldedError(f"{node.op_type} reads it, not only products with weights")


def fold_above(model: ir.Model, value: ir.Value, factor: Array, reader: ir.Node) -> list[Step]:
    """Return the steps that let the producer of `value`, which `reader` reads, yield `value`·factor instead.

    The walk goes up through Adds of constants, which are multiplied too, to a product with a weight or a constant
    factor.

    Raises:
        NotFoldedError: why it cannot.
    """
    _check_other_readers(value, factor, reader)
    node = value.producer()
    if node is None or node.domain != "":
        raise NotFoldedError("nothing with weights makes it")
    data = node.inputs[0]
    if moves(node) and data is not None:
        return fold_above(model, data, carry_back(node, node.outputs.index(value), factor), node)
    product = product_of(model, node)
    if product is not None:
        return scale_results(product, factor)
    if node.op_type in ("Add", "Sub", "Mul") or (node.op_type == "Div" and is_constant(node.inputs[1])):
        return _through_arithmetic(model, node, factor)
    if node.op_type == "MatMul":
        return _into_a_factor(model, node, factor)
    raise NotFoldedError(f"{node.op_type} makes it, no product with a weight")


def _check_other_readers(value: ir.Value, factor: Array, reader: ir.Node) -> None:
    """Raise NotFoldedError unless all other readers read only elements that are multiplied by 1."""
    if value.is_graph_output():
        raise NotFoldedError("it leaves the graph")
    multiplied = Affine(factor, np.zeros((1,) * factor.ndim))
    readers = [use.node for use in value.uses()]
    if readers.count(reader) > 1:
        raise NotFoldedError(f"{reader.op_type} reads it twice")
    for node, position in value.uses():
        if node is reader:
            continue
        passes = position == 0 and moves(node)
        if not passes or any((part.factor != 1).any() for part in carry_forward(node, multiplied)):
            raise NotFoldedError(f"{node.op_type} reads it as well")


def _through_arithmetic(model: ir.Model, node: ir.Node, factor: Array) -> list[Step]:
    """(x + c)·f = x·f + c·f;  (x·c)·f = x·(c·f)."""
    constants = [position for position, value in enumerate(node.inputs) if is_constant(value)]
    if len(constants) != 1:
        raise NotFoldedError(f"{node.op_type} of two values makes it")
    position = constants[0]
    value, constant = input_of(node, 1 - position), input_of(node, position)
    if constant.dtype != ir.DataType.FLOAT:
        raise NotFoldedError("it is not float32")
    array = exact(constant)
    aligned(array, value)  # raises if the constant broadcasts the other input
    changed = array / factor if node.op_type == "Div" else array * factor
    if changed.size > max(array.size, factor.size) or not np.isfinite(changed).all():
        raise NotFoldedError("the constant would grow")
    above = [] if node.op_type in ("Mul", "Div") else fold_above(model, value, factor, node)
    return [lambda: replace(own(model, node, position), of_rank(changed, constant)), *above]


def _into_a_factor(model: ir.Model, node: ir.Node, factor: Array) -> list[Step]:
    """(q·k)·f = (q·f)·k = q·(k·f), if f is the same for all rows and columns."""
    if any(size > 1 for size in factor.shape[-2:]):
        raise NotFoldedError("it is no factor of whole matrices")
    reasons = []
    for value in node.inputs:
        try:
            if value is None or len(known_sizes(value)) != factor.ndim:
                raise NotFoldedError("the matrices are repeated")
            return fold_above(model, value, aligned(factor, value), node)
        except NotFoldedError as reason:
            reasons.append(str(reason))
    raise NotFoldedError("; ".join(dict.fromkeys(reasons)))
