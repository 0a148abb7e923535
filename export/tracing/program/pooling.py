"""Decomposition of pooling in a traced program to operators that torch.onnx converts.

Adaptive pooling: window i of n along an axis of size s is [⌊i·s/n⌋, ⌈(i+1)·s/n⌉), as in torch.
"""

import math
from typing import Any

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
_FLAT: dict[Any, Any] = {
    _ATEN.avg_pool1d.default: _ATEN.avg_pool2d.default,
    _ATEN.max_pool1d.default: _ATEN.max_pool2d.default,
}
"""Operator for two axes, by operator for one."""
_WINDOWED = _SUMS | {
    _ATEN.avg_pool1d.default: 1,
    _ATEN.max_pool1d.default: 1,
    _ATEN.max_pool2d.default: 2,
    _ATEN.max_pool3d.default: 3,
}
"""Number of pooled axes, the last ones, by operator, also in `_MEANS`, `_MAXIMA` and `_SUMS`."""


def decompose_pools(graph: fx.Graph) -> None:
    """Replace global average pooling, averages with another divisor, and adaptive max pooling without indices.

    `ceil_mode` is removed where it adds no window: ONNX counts a window that begins in the padding, which torch omits.
    """
    for node in list(graph.nodes):
        if node.target in _WINDOWED and _adds_no_window(node, _WINDOWED[node.target]):
            node.args, node.kwargs = tuple((arguments_of(node) | {"ceil_mode": False}).values()), {}
        if node.target in _FLAT:  # TensorRT pools two or three axes
            node.replace_all_uses_with(_of_one_row(node))
            graph.erase_node(node)
            continue
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


def _adds_no_window(node: fx.Node, axes: int) -> bool:
    """Return whether `ceil_mode` has no effect on the number of windows."""
    given = arguments_of(node)
    if not given["ceil_mode"]:
        return False
    sides = given["kernel_size"], given["stride"] or given["kernel_size"], given["padding"], given.get("dilation", [1])
    sizes, windows = (value.meta["val"].shape[-axes:] for value in (given["self"], node))
    return all(
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 == count
        for size, count, kernel, stride, padding, dilation in zip(
            sizes, windows, *([*values] * (axes // len(values)) for values in sides), strict=True
        )
    )


def _of_one_row(node: fx.Node) -> fx.Node:
    """Return a pool of one axis as a pool of an image of one row."""
    neutral = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    given = arguments_of(node)
    given["stride"] = given["stride"] or given["kernel_size"]
    for name in neutral.keys() & given.keys():
        given[name] = [neutral[name], *given[name]]
    given["self"] = insert_call(node, _ATEN.unsqueeze.default, given["self"], -2)
    pooled = insert_call(node, _FLAT[node.target], *given.values())
    return insert_call(node, _ATEN.squeeze.dim, pooled, -2)


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
