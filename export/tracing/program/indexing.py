"""Rewrites of indexing so that it does not depend on the batch size, in a traced program.

`x[torch.arange(len(x))[:, None], index]` becomes torch.gather, which needs no image index. `affine_grid`, which takes
the batch size as an argument, becomes a product of its transformations with the points of one grid.
"""

import math
from typing import Any

import torch
from torch import fx

from export.tracing.program.nodes import insert_call

_ATEN = torch.ops.aten
_SAME_ORDER = {
    _ATEN._to_copy.default,
    _ATEN.alias.default,
    _ATEN.reshape.default,
    _ATEN.to.dtype,
    _ATEN.unsqueeze.default,
    _ATEN.view.default,
}


def rewrite_indexing(graph: fx.Graph) -> None:
    """Replace indexing by image index and affine grids, and cut the sources of scatters to the shape of the index."""
    for node in list(graph.nodes):
        made: fx.Node | None = None
        if node.target is _ATEN.index.Tensor:
            made = _indexed(node)
        elif node.target is _ATEN.affine_grid_generator.default and len(node.args[1]) == 4:
            made = _affine_grid(node)
        elif node.target is _ATEN.scatter.src:  # ONNX requires the same shape for both
            _cut_source(node)
        if made is not None:
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def _indexed(node: fx.Node) -> fx.Node | None:
    """Return the rows that are indexed along the second axis, if the first index enumerates the images."""
    arguments: Any = node.args
    source, given = arguments
    sizes = source.meta["val"].shape
    if len(given) < 2 or any(index is not None for index in given[2:]) or not _counts_images(given[0], sizes[0]):
        return None
    counted, rows = (index.meta["val"].shape for index in given[:2])
    if len(rows) > len(counted):
        return None
    if len(rows) < len(counted) or rows[0] == 1:  # the same rows of each image
        flat = insert_call(node, _ATEN.reshape.default, given[1], [-1])
        flat = insert_call(node, _ATEN.remainder.Scalar, flat, sizes[1])  # indices may be negative
        found = insert_call(node, _ATEN.index_select.default, source, 1, flat)
        return insert_call(node, _ATEN.reshape.default, found, [*node.meta["val"].shape])
    rest, count = sizes[2:], math.prod(rows[1:])
    index = insert_call(node, _ATEN.reshape.default, given[1], [sizes[0], count, *[1] * len(rest)])
    index = insert_call(node, _ATEN.expand.default, index, [sizes[0], count, *rest])
    found = insert_call(node, _ATEN.gather.default, source, 1, index)
    return insert_call(node, _ATEN.reshape.default, found, [*rows, *rest])


def _counts_images(node: Any, images: int) -> bool:  # noqa: ANN401 -- an argument of an fx node
    """Return whether an index [B, 1, …, 1] is a reshaped range 0, 1, …, B - 1."""
    if not isinstance(node, fx.Node) or node.meta["val"].shape != (images, *[1] * (node.meta["val"].ndim - 1)):
        return False
    while node.target in _SAME_ORDER:
        node = node.args[0]
    ranges = {_ATEN.arange.default: (images,), _ATEN.arange.start: (0, images), _ATEN.arange.start_step: (0, images)}
    return bool(node.args == ranges.get(node.target))


def _affine_grid(node: fx.Node) -> fx.Node:
    """Return the points of one grid, transformed by [B, 2, 3]."""
    given: Any = node.args
    transformations, (_, channels, height, width), *align = given
    identity = insert_call(node, torch.tensor, [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    grid = insert_call(node, node.target, identity, [1, channels, height, width], *align)
    points = insert_call(node, _ATEN.reshape.default, grid, [height * width, 2])
    points = insert_call(node, _ATEN.constant_pad_nd.default, points, [0, 1], 1.0)
    turned = insert_call(node, _ATEN.transpose.int, transformations, 1, 2)
    moved = insert_call(node, _ATEN.matmul.default, points, turned)
    return insert_call(node, _ATEN.reshape.default, moved, [*node.meta["val"].shape])


def _cut_source(node: fx.Node) -> None:
    _, _, index, source = node.args
    assert isinstance(index, fx.Node)
    assert isinstance(source, fx.Node)
    for axis, size in enumerate(index.meta["val"].shape):
        if size != source.meta["val"].shape[axis]:
            source = insert_call(node, _ATEN.slice.Tensor, source, axis, 0, size)
    node.update_arg(3, source)
