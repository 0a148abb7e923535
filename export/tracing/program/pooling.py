"""Decomposition of adaptive pooling in a traced program to operators that torch.onnx converts.

Window i of n along an axis of size s is [⌊i·s/n⌋, ⌈(i+1)·s/n⌉), as in torch.
"""

import torch
from torch import fx

from export.tracing.program.nodes import insert_call

_ATEN = torch.ops.aten
_MEANS = {_ATEN.adaptive_avg_pool1d.default: 1, _ATEN.adaptive_avg_pool2d.default: 2}
_MAXIMA = {
    _ATEN.adaptive_max_pool1d.default: 1,
    _ATEN.adaptive_max_pool2d.default: 2,
    _ATEN.adaptive_max_pool3d.default: 3,
}
"""Number of pooled axes, the last ones, by operator."""


def decompose_pools(graph: fx.Graph) -> None:
    """Replace global average pooling, and adaptive max pooling whose indices are not read."""
    for node in list(graph.nodes):
        if node.target in _MEANS and set(node.args[1]) == {1}:  # torch.onnx would convert it to as_strided
            node.target, node.args = _ATEN.mean.dim, (node.args[0], list(range(-_MEANS[node.target], 0)), True)
        elif node.target in _MAXIMA and all(user.args[1] == 0 or not user.users for user in node.users):
            pooled = node.args[0]
            for axis, windows in zip(range(-_MAXIMA[node.target], 0), node.args[1], strict=True):
                pooled = _maxima(node, pooled, axis, windows)
            for user in list(node.users):
                user.replace_all_uses_with(pooled)
                graph.erase_node(user)
            graph.erase_node(node)


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
