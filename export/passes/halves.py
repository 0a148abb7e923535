"""Permutation of the columns of q and k that moves rotated pairs of channels to the halves of a head."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.passes.exact import NotFoldedError, own
from export.passes.movement.chains import Chains
from export.passes.values import Array, array_of, input_of, is_constant, only_use, sizes_of


def make_halves_of_neighbours(model: ir.Model, chains: Chains, rotated: Sequence[ir.Value]) -> None:
    """Permute the columns of products so that neighbouring channels move to opposite halves of a head.

    Args:
        model: the graph.
        chains: the graph's chains of data movement.
        rotated: queries and keys, [images, heads, tokens, channels]; their readers must expect the new order.

    Raises:
        NotFoldedError: another node reads the columns, or they are not produced by a product with a weight.
    """
    orders: dict[ir.Value, Array] = {}
    for value in rotated:
        product, columns = _columns(chains, value)
        size = (sizes_of(product) or ())[-1]
        order = orders.setdefault(product, np.arange(size))
        order[columns] = np.concatenate([columns[:, ::2], columns[:, 1::2]], axis=1)
    places = [place for product, order in orders.items() for place in _weights(chains, product, order, rotated)]
    for node, position, order in places:
        value = own(model, node, position)
        value.const_value = ir.tensor(np.ascontiguousarray(array_of(value)[..., order]), name=value.name)


def _columns(chains: Chains, value: ir.Value) -> tuple[ir.Value, Array]:
    """Return the source of q or k [images, heads, tokens, channels], and the column of each head and channel in it."""
    origin = chains.origins.get(value)
    sizes = None if origin is None else sizes_of(origin.source)
    if origin is None or sizes is None or len(origin.map.axes) != 4 or len(sizes) != 3:
        raise NotFoldedError("the rotated columns of the product are not known")
    images, heads, tokens, channels = (origin.map.along(axis) for axis in range(4))
    if images is None or heads is None or tokens is None or channels is None or origin.map.base >= sizes[-1]:
        raise NotFoldedError("the rotated columns of the product are not known")
    if not np.array_equal(tokens, np.arange(sizes[1]) * sizes[2]) or not np.array_equal(
        images, np.arange(sizes[0]) * sizes[1] * sizes[2]
    ):
        raise NotFoldedError("the rotation does not cover all tokens in order")
    return origin.source, origin.map.base + heads[:, None] + channels


def _weights(
    chains: Chains, product: ir.Value, order: Array, rotated: Sequence[ir.Value]
) -> list[tuple[ir.Node, int, Array]]:
    """Return the constants whose columns must be permuted, as (node, input position, order)."""
    moved = set(np.flatnonzero(order != np.arange(len(order))).tolist())
    values = [product]
    for value in values:
        for reader in value.consumers():
            behind = [output for output in reader.outputs if output in chains.origins]
            values += [output for output in behind if output not in rotated and output not in values]
            if not behind and (value is product or moved & _columns_read(chains, value, len(order))):
                raise NotFoldedError("another node reads the rotated columns")
    places = []
    node = product.producer()
    if node is not None and node.op_type == "Add" and sum(map(is_constant, node.inputs)) == 1:
        position = next(i for i, value in enumerate(node.inputs) if is_constant(value))
        bias, before = node.inputs[position], input_of(node, 1 - position)
        if (sizes_of(bias) or (1,))[-1] != len(order) or only_use(before) is None:
            raise NotFoldedError("the added bias does not have one number per column")
        places.append((node, position, order))
        node = before.producer()
    weight = node.inputs[1] if node is not None and node.op_type == "MatMul" else None
    if node is None or weight is None or not is_constant(weight) or len(sizes_of(weight) or ()) != 2:
        raise NotFoldedError("not produced by a product with a weight")
    return [*places, (node, 1, order)]


def _columns_read(chains: Chains, value: ir.Value, count: int) -> set[int]:
    """Return the columns of a product that a tensor contains."""
    index = chains.origins[value].map
    found = np.asarray([index.base % count])
    for axis in range(len(index.axes)):
        along = index.along(axis)
        if along is None:
            return set(range(count))
        found = np.unique((found[:, None] + np.unique(along % count)) % count)
    return set(found.tolist())
