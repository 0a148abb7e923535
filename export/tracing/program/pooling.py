"""Adaptive pooling in operators that torch.onnx converts, in a traced program.

Window i of n along an axis of s numbers is [⌊i·s/n⌋, ⌈(i+1)·s/n⌉), as in torch.
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
"""By operator, the axes that are pooled, counted from the last."""


def plain_pools(graph: fx.Graph) -> None:
    """Replace means over all of an image, and maxima whose places nothing reads."""
    for node in list(graph.nodes):
        if node.target in _MEANS and set(node.args[1]) == {1}:  # torch.onnx would make as_strided of it
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
    """Return the maxima of the windows along one axis."""
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
