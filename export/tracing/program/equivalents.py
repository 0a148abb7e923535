"""Replacement of operators that torch.onnx converts wrongly or not at all by equal ones, in a traced program.

- chunk, which may return fewer parts than requested: ONNX's Split would add empty ones.
- a stable sort: ONNX's TopK orders equal numbers by index.
- topk without order: TensorRT returns ordered numbers only.
- hstack, vstack, dstack and column_stack: torch.onnx loops over the tensors.
- index_fill: an assignment of one number, as in `x[:, index] = 0`.
- scatter_reduce with mean, as in token merging (Bolya et al. 2023): torch.onnx drops the reduction.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from export.tracing.program.nodes import arguments_of, insert_call

_ATEN = torch.ops.aten
_STACKS: dict[Any, int] = {
    _ATEN.column_stack.default: 1,
    _ATEN.dstack.default: 2,
    _ATEN.hstack.default: 1,
    _ATEN.vstack.default: 0,
}
"""Axis of concatenation for tensors of enough axes, by operator."""


def use_equivalents(graph: fx.Graph) -> None:
    """Replace the operators."""
    for node in list(graph.nodes):
        replace = _REPLACED.get(node.target)
        if replace is not None:
            made = replace(node)
            if made is not None:
                node.replace_all_uses_with(made)
                graph.erase_node(node)


def _split(node: fx.Node) -> None:
    given = arguments_of(node)
    size = node.meta["val"][0].shape[given["dim"]]
    node.target, node.args, node.kwargs = _ATEN.split.Tensor, (given["self"], size, given["dim"]), {}


def _sort(node: fx.Node) -> None:
    given = arguments_of(node)
    node.target = _ATEN.sort.default if node.target is _ATEN.sort.stable else _ATEN.argsort.default
    node.args, node.kwargs = (given["self"], given["dim"], given["descending"]), {}


def _order(node: fx.Node) -> None:
    node.args, node.kwargs = tuple((arguments_of(node) | {"sorted": True}).values()), {}


def _concatenate(node: fx.Node) -> None:
    tensors: Any = node.args[0]
    axis = _STACKS[node.target]
    if all(tensor.meta["val"].ndim > max(axis, 1) for tensor in tensors):
        node.target, node.args = _ATEN.cat.default, (tensors, axis)


def _fill(node: fx.Node) -> fx.Node:
    given = arguments_of(node)
    source, axis, index, value = (given[name] for name in ("self", "dim", "index", "value"))
    shape = list(source.meta["val"].shape)
    index = insert_call(node, _ATEN.remainder.Scalar, index, shape[axis])  # indices may be negative
    shape[axis] = index.meta["val"].numel()
    if isinstance(value, fx.Node):
        rows = insert_call(node, _ATEN.expand.default, value, shape)
    else:
        rows = insert_call(node, _ATEN.full.default, shape, value, dtype=source.meta["val"].dtype)
    in_place = node.target._schema.is_mutable  # type: ignore[union-attr]  # an operator of `_REPLACED`
    copy = _ATEN.index_copy_.default if in_place else _ATEN.index_copy.default
    return insert_call(node, copy, source, axis, index, rows)


def _mean(node: fx.Node) -> fx.Node | None:
    given = arguments_of(node)
    source, axis, index = (given[name] for name in ("self", "dim", "index"))
    if given["reduce"] != "mean":
        return None
    zeros = insert_call(node, _ATEN.zeros_like.default, source)
    ones = insert_call(node, _ATEN.ones_like.default, source)
    each = insert_call(node, _ATEN.ones_like.default, given["src"])
    sums, counts = (source, ones) if given["include_self"] else (zeros, zeros)
    total = insert_call(node, _ATEN.scatter_add.default, sums, axis, index, given["src"])
    count = insert_call(node, _ATEN.scatter_add.default, counts, axis, index, each)
    if given["include_self"]:
        return insert_call(node, _ATEN.div.Tensor, total, count)
    mean = insert_call(node, _ATEN.div.Tensor, total, insert_call(node, _ATEN.maximum.default, count, ones))
    return insert_call(node, _ATEN.where.self, insert_call(node, _ATEN.gt.Scalar, count, 0), mean, source)


_REPLACED: dict[object, Callable[[fx.Node], fx.Node | None]] = {
    _ATEN.argsort.stable: _sort,
    _ATEN.chunk.default: _split,
    _ATEN.index_fill.int_Scalar: _fill,
    _ATEN.index_fill.int_Tensor: _fill,
    _ATEN.index_fill_.int_Scalar: _fill,
    _ATEN.index_fill_.int_Tensor: _fill,
    _ATEN.scatter_reduce.two: _mean,
    _ATEN.sort.stable: _sort,
    _ATEN.topk.default: _order,
    **dict.fromkeys(_STACKS, _concatenate),
}
