"""Decomposition of pooling in a traced program to operators that torch.onnx converts.

Adaptive pooling: window i of n along an axis of size s is [⌊i·s/n⌋, ⌈(i+1)·s/n⌉), as in torch.
"""

import math

import torch
from torch import fx

from export.tracing.program.nodes import arguments_of, insert_call

_ATEN = torch.ops.aten
_MEANS = {_ATEN.adaptive_avg_pool1d.default: 1, _ATEN.adaptive_avg_pool2d.default: 2}
_MAXIMA = {
    _ATEN.adaptive_max_pool1d.default: 1,
    _ATEN.adaptive_max_pool2d.default: 2,
    _ATEN.adaptive_max_pool3d.default: 3,
}
_SUMS = {_ATEN.avg_pool2d.default: 2, _ATEN.avg_pool3d.default: 3}
"""Number of pooled axes, the last ones, by operator."""


def decompose_pools(graph: fx.Graph) -> None:
    """Replace global average pooling, averages with another divisor, and adaptive max pooling without indices."""
    for node in list(graph.nodes):
        if node.target in _MEANS and set(node.args[1]) == {1}:  # torch.onnx would convert it to as_strided
            node.target, node.args = _ATEN.mean.dim, (node.args[0], list(range(-_MEANS[node.target], 0)), True)
        elif node.target in _SUMS and arguments_of(node)["divisor_override"] is not None:
            node.replace_all_uses_with(_divided(node, _SUMS[node.target]))
            graph.erase_node(node)
        elif node.target in _MAXIMA and all(user.args[1] == 0 or not user.users for user in node.users):
            pooled = node.args[0]
            for axis, windows in zip(range(-_MAXIMA[node.target], 0), node.args[1], strict=True):
                pooled = _maxima(node, pooled, axis, windows)
            for user in list(node.users):
                user.replace_all_uses_with(pooled)
                graph.erase_node(user)
            graph.erase_node(node)


def _divided(node: fx.Node, axes: int) -> fx.Node:
    """Return the sum of each window divided by `divisor_override`, which torch.onnx ignores."""
    given = arguments_of(node)
    sides = given["kernel_size"], given["stride"] or given["kernel_size"], given["padding"]
    kernel, stride, padding = ([*values] * (axes // len(values)) for values in sides)
    pads: list[int] = []
    for axis in reversed(range(axes)):
        size, windows = (value.meta["val"].shape[axis - axes] for value in (given["self"], node))
        missing = (windows - 1) * stride[axis] + kernel[axis] - size - padding[axis]
        pads += [padding[axis], max(0, missing)]
    padded = insert_call(node, _ATEN.constant_pad_nd.default, given["self"], pads)
    means = insert_call(node, node.target, padded, kernel, stride)
    return insert_call(node, _ATEN.mul.Tensor, means, math.prod(kernel) / given["divisor_override"])


def _maxima(node: fx.Node, source: fx.Node, axis: int, windows: int) -> fx.Node:
    """Return the maximum of each window along one axis."""
    size = source.meta["val"].shape[axis]
    if windows == size:
        return source
    if size % windows == 0:
        parted = insert_call(node, _ATEN.unflatten.int, source, axis, [windows, size // windows])
        return insert_call(node, _ATEN.amax.default, parted, [axis])
    parts = []
    for window in range(windows):
        start, end = window * size // windows, -(-(window + 1) * size // windows)
        part = insert_call(node, _ATEN.slice.Tensor, source, axis, start, end)
        parts.append(insert_call(node, _ATEN.amax.default, part, [axis], True))
    return insert_call(node, _ATEN.cat.default, parts, axis)
