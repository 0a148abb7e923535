"""Equivalent forms of a graph for `benchmarks.targets`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

import export.passes
from export.passes.movement import Rewritten, plans, steps
from export.passes.values import add_constant, array_of, input_of, is_constant, name_of, only_use, shape_of


@dataclass(frozen=True)
class Alternative:
    """An equivalent form of a graph.

    Attributes:
        name: name in the table.
        opset: opset of the graph.
        fuses_attention: whether attention is Attention on [B, N, H·d].
        rewrite: rewrite before data movement is composed; None for none.
        costs: replacements of constants in `export.passes.movement.steps`.
        cheaper: replacement of `_CHEAPER` in `export.passes.movement.plans`.
    """

    name: str
    opset: int = 20
    fuses_attention: bool = False
    rewrite: Callable[[ir.Model], None] | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    cheaper: float = plans._CHEAPER

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Build graphs in this form until the block ends."""
        move = export.passes.move

        def rewritten(model: ir.Model, batch: int | None = None) -> tuple[Rewritten, ...]:
            if self.rewrite is not None:
                self.rewrite(model)
                common.RemoveUnusedNodesPass()(model)
            return move(model, batch)

        with ExitStack() as replaced:
            replaced.enter_context(mock.patch.object(export.passes, "move", rewritten))
            replaced.enter_context(mock.patch.object(plans, "_CHEAPER", self.cheaper))
            for name, cost in self.costs.items():
                replaced.enter_context(mock.patch.object(steps, name, cost))
            yield


def separate(model: ir.Model) -> None:
    """Replace a product with constant weights that only a Split reads by one product per part."""
    for split in list(model.graph):
        source = split.inputs[0] if split.op_type == "Split" else None
        if source is None or only_use(source) is None:
            continue
        axis = split.attributes.get_int("axis", 0) % len(shape_of(source))
        product, bias = source.producer(), None
        if product is not None and product.op_type == "Add" and is_constant(product.inputs[1]):
            bias, product = product.inputs[1], input_of(product, 0).producer()
        if product is None or product.op_type != "MatMul" or only_use(product.outputs[0]) is None:
            continue
        read, weight = input_of(product, 0), input_of(product, 1)
        if not is_constant(weight) or axis != len(shape_of(source)) - 1:
            continue
        ends = np.cumsum([shape_of(output)[-1] for output in split.outputs])[:-1]
        weights = np.split(array_of(weight), ends, -1)
        biases = [None] * len(weights) if bias is None else np.split(array_of(bias), ends, -1)
        for output, part, shift in zip(split.outputs, weights, biases, strict=True):
            shape = shape_of(output)
            made = _insert(model, split, "MatMul", [read, _constant(model, part, weight)], shape)
            if shift is not None:
                made = _insert(model, split, "Add", [made, _constant(model, shift, weight)], shape)
            output.replace_all_uses_with(made)


class _Attention(NamedTuple):
    """Parts of softmax(q·kᵀ + bias)·v: q [B, H, N, d], kᵀ [B, H, d, N], the bias, and the last product."""

    query: ir.Value
    turned: ir.Value
    bias: ir.Value | None
    product: ir.Node


def attention(model: ir.Model) -> None:
    """Replace softmax(q·kᵀ + bias)·v by Attention of [B, H, N, d]; windows with masks become heads: [B, W·H, N, d]."""
    for softmax in list(model.graph):
        found = _attention(softmax) if softmax.op_type == "Softmax" else None
        if found is None or len(shape_of(found.turned)) != 4:
            continue
        product, whole = found.product, shape_of(found.product.outputs[0])
        sizes = shape_of(found.turned)
        key = _insert(model, product, "Transpose", [found.turned], (*sizes[:2], sizes[3], sizes[2]), perm=(0, 1, 3, 2))
        parts, masks = [found.query, key, input_of(product, 1)], []
        if found.bias is not None:
            bias = array_of(found.bias)
            windows = bias.shape[1] if bias.ndim == 5 else 1
            if bias.ndim > 5 or (bias.ndim > 3 and bias.shape[0] != 1):
                continue
            if bias.ndim == 5:
                bias = np.broadcast_to(bias, (1, windows, whole[1], *bias.shape[3:]))
                bias = bias.reshape(1, windows * whole[1], *bias.shape[3:])
                outer = whole[0] // windows, windows * whole[1]
                parts = [_reshape(model, product, part, (*outer, *shape_of(part)[2:])) for part in parts]
            masks = [_constant(model, bias.reshape((1,) * (4 - bias.ndim) + bias.shape), found.bias)]
        shape = (*shape_of(parts[0])[:3], shape_of(parts[2])[3])
        made = _insert(model, product, "Attention", [*parts, *masks], shape, scale=1.0)
        product.outputs[0].replace_all_uses_with(made if shape == whole else _reshape(model, product, made, whole))


def _attention(softmax: ir.Node) -> _Attention | None:
    use = only_use(softmax.outputs[0])
    if use is None or use[0].op_type != "MatMul" or use[1] != 0:
        return None
    scores, bias = input_of(softmax, 0), None
    while (node := scores.producer()) is not None and node.op_type in ("Add", "Reshape") and only_use(scores):
        scores = input_of(node, 0)
        if node.op_type == "Add":
            if bias is not None or not is_constant(node.inputs[1]):
                return None
            bias = node.inputs[1]
    if node is None or node.op_type != "MatMul" or any(map(is_constant, node.inputs)):
        return None
    return _Attention(input_of(node, 0), input_of(node, 1), bias, use[0])


def _reshape(model: ir.Model, before: ir.Node, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    return _insert(model, before, "Reshape", [value, _constant(model, np.asarray(shape, np.int64), value)], shape)


def _constant(model: ir.Model, array: np.ndarray[Any, Any], like: ir.Value) -> ir.Value:
    return add_constant(model, np.ascontiguousarray(array), f"{name_of(like)}.form")


def _insert(
    model: ir.Model,
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value | None],
    shape: tuple[int, ...],
    **attributes: Any,  # noqa: ANN401 -- as ir.node takes them
) -> ir.Value:
    node = ir.node(operator, inputs, attributes, metadata_props=dict(before.metadata_props))
    first = inputs[0]
    assert first is not None, "it is no optional input"
    node.outputs[0].shape, node.outputs[0].type = ir.Shape(shape), first.type
    model.graph.insert_before(before, node)
    return node.outputs[0]
