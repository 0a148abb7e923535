"""Propagation of factors and shifts through data-movement operators.

A constant that multiplies a Transpose's output, or is added to it, can be applied to its input instead, with its axes
permuted. Arrays are kept in broadcast form: an axis along which all elements are equal has size 1.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from export.passes.exact import NotFoldedError
from export.passes.operators import axis_of, order_of, places_read, reduced_axes, split_places
from export.passes.unbroadcast import is_uniform
from export.passes.values import Array, Sizes, array_of, is_constant, sizes_of


class Affine(NamedTuple):
    """x·factor + shift; both are float64 arrays of x's rank that broadcast to its shape."""

    factor: Array
    shift: Array

    @property
    def shifts(self) -> bool:
        """True if the shift is not zero."""
        return bool(self.shift.any())


def aligned(array: Array, value: ir.Value | None) -> Array:
    """Return an array with the rank of a value, in broadcast form.

    Raises:
        NotFoldedError: the array does not broadcast to the value's shape.
    """
    sizes = known_sizes(value)
    if array.ndim > len(sizes):
        raise NotFoldedError("the constant has a higher rank than the other operand")
    array = array.reshape((1,) * (len(sizes) - array.ndim) + array.shape)
    if any(there not in (1, size) for there, size in zip(array.shape, sizes, strict=True)):
        raise NotFoldedError("the other operand is broadcast to the constant's shape")
    return unrepeated(array)


def unrepeated(array: Array) -> Array:
    """Return an array in broadcast form, with size 1 along each uniform axis."""
    for axis, size in enumerate(array.shape):
        if size > 1 and is_uniform(array, axis):
            array = array.take([0], axis=axis)
    return array


def of_rank(array: Array, constant: ir.Value) -> Array:
    """Return an array without leading axes of size 1, down to the rank of a constant."""
    while array.ndim > len(known_sizes(constant)) and array.shape[0] == 1:
        array = array[0]
    return array


def known_sizes(value: ir.Value | None) -> Sizes:
    """Return a value's shape.

    Raises:
        NotFoldedError: a size is unknown or 0.
    """
    sizes = sizes_of(value)
    if sizes is None or 0 in sizes:
        raise NotFoldedError("the shape is not static")
    return sizes


def moves(node: ir.Node) -> bool:
    """Return whether factors and shifts of a node's first input can be carried through the node."""
    return node.domain == "" and node.op_type in _MOVES and all(map(is_constant, node.inputs[1:]))


def keeps_all(node: ir.Node) -> bool:
    """Return whether a node only rearranges all elements of x."""
    return moves(node) and (node.op_type in ("Identity", "Transpose") or _MOVES[node.op_type] is _RESHAPE)


def carry_forward(node: ir.Node, affine: Affine) -> list[Affine]:
    """Return the factor and shift of each output of a data-movement node, given those of its input.

    Raises:
        NotFoldedError: the factor or shift cannot be carried through the node.
    """
    factors, shifts = (
        _MOVES[node.op_type].forward(node, part, fill) for part, fill in zip(affine, (1, 0), strict=True)
    )
    return [Affine(unrepeated(factor), unrepeated(shift)) for factor, shift in zip(factors, shifts, strict=True)]


def carry_back(node: ir.Node, output: int, factor: Array) -> Array:
    """Return the factor of a node's input that multiplies one of its outputs by `factor`.

    Elements that are not in that output get the factor 1.

    Raises:
        NotFoldedError: the factor cannot be carried through the node.
    """
    return unrepeated(_MOVES[node.op_type].back(node, output, factor))


def carry_through_concat(node: ir.Node, parts: Sequence[Affine]) -> Affine:
    """Return the factor and shift of a Concat's output, given those of its inputs."""
    axis = axis_of(node, parts[0].factor.ndim)
    lengths = [known_sizes(value)[axis] for value in node.inputs]
    joined = []
    for arrays in zip(*parts, strict=True):
        wide = [_expanded(array, {axis: length}) for array, length in zip(arrays, lengths, strict=True)]
        others = np.broadcast_shapes(*(array.take([0], axis=axis).shape for array in wide))
        shapes = [(*others[:axis], length, *others[axis + 1 :]) for length in lengths]
        joined.append(np.concatenate([np.broadcast_to(*pair) for pair in zip(wide, shapes, strict=True)], axis=axis))
    return Affine(*map(unrepeated, joined))


class _Rule(NamedTuple):
    """Rule of an operator for both directions. `forward` takes the padding value: 1 for factors, 0 for shifts."""

    forward: Callable[[ir.Node, Array, int], list[Array]]
    back: Callable[[ir.Node, int, Array], Array]


def _expanded(array: Array, sizes: Mapping[int, int]) -> Array:
    """Return an array repeated along some axes."""
    return np.broadcast_to(array, [sizes.get(axis, size) for axis, size in enumerate(array.shape)])


def _regrouped(array: Array, source: Sizes, result: Sizes) -> Array:
    """Reshape an array that broadcasts to `source`; axes expand only where the two shapes group them differently."""
    wide, shape = list(array.shape), [1] * len(result)
    for before, after in _groups(source, result):
        if any(array.shape[axis] > 1 for axis in before):
            for axis in before:
                wide[axis] = source[axis]
            for axis in after:
                shape[axis] = result[axis]
    return np.broadcast_to(array, wide).reshape(shape)


def _groups(source: Sizes, result: Sizes) -> list[tuple[range, range]]:
    """Return the shortest groups of consecutive axes of two shapes with equal numbers of elements."""
    groups, i, j = [], 0, 0
    while i < len(source) or j < len(result):
        first, second = i, j
        i, j = min(i + 1, len(source)), min(j + 1, len(result))
        while (left := prod(source[first:i])) != (right := prod(result[second:j])):
            i, j = (i + 1, j) if left < right else (i, j + 1)
        groups.append((range(first, i), range(second, j)))
    return groups


def _places(node: ir.Node) -> tuple[int, Array]:
    """Return the axis along which a node reads a part, and the positions that it reads."""
    known_sizes(node.inputs[0])
    read = places_read(node)
    if read is None:
        raise NotFoldedError("Slice of several axes")
    return read


def _taken(node: ir.Node, array: Array, _fill: int) -> list[Array]:
    axis, places = _places(node)
    if array.shape[axis] > 1:
        return [array.take(places, axis=axis)]
    return [array.reshape((*array.shape[:axis], *(1,) * places.ndim, *array.shape[axis + 1 :]))]


def _taken_back(node: ir.Node, _output: int, array: Array) -> Array:
    axis, places = _places(node)
    return _put_back(array, known_sizes(node.inputs[0])[axis], axis, places)


def _put_back(array: Array, size: int, axis: int, places: Array) -> Array:
    """Return an array with `array` at some positions of an axis, and 1 elsewhere."""
    if len(np.unique(places)) < places.size:
        raise NotFoldedError("Gather with repeated indices")
    rank = places.ndim
    wide = _expanded(array, {axis + index: length for index, length in enumerate(places.shape)})
    part = np.moveaxis(wide, range(axis, axis + rank), range(rank)).reshape(
        places.size, *array.shape[:axis], *array.shape[axis + rank :]
    )
    whole = np.ones((size, *part.shape[1:]))
    whole[places.reshape(-1)] = part
    return np.moveaxis(whole, 0, axis)


def _split_places(node: ir.Node) -> tuple[int, list[range]]:
    for value in (*node.inputs[:1], *node.outputs):
        known_sizes(value)
    return split_places(node)


def _split(node: ir.Node, array: Array, _fill: int) -> list[Array]:
    axis, parts = _split_places(node)
    return [array if array.shape[axis] == 1 else array.take(places, axis=axis) for places in parts]


def _split_back(node: ir.Node, output: int, array: Array) -> Array:
    axis, parts = _split_places(node)
    return _put_back(array, parts[-1].stop, axis, np.asarray(parts[output]))


def _padding(node: ir.Node) -> list[tuple[int, int]]:
    rank = len(known_sizes(node.inputs[0]))
    numbers = [array_of(value) for value in node.inputs[1:] if value is not None]
    zeros = all(not array.any() for array in numbers[1:])
    if node.attributes.get_string("mode", "constant") != "constant" or len(node.inputs) > 3 or not zeros:
        raise NotFoldedError("Pad with values other than 0")
    pads = numbers[0].tolist()
    if min(pads) < 0:
        raise NotFoldedError("Pad with negative sizes")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _padded(node: ir.Node, array: Array, fill: int) -> list[Array]:
    """Pad a factor by 1, or a shift by 0: padded zeros may be multiplied by any factor, but must not be shifted."""
    pads, sizes = _padding(node), known_sizes(node.inputs[0])
    grown = {axis: sizes[axis] for axis, pad in enumerate(pads) if any(pad) and (fill == 0 or array.shape[axis] > 1)}
    if fill == 0 and not array.any():
        return [array]
    around = [pad if axis in grown else (0, 0) for axis, pad in enumerate(pads)]
    return [np.pad(_expanded(array, grown), around, constant_values=fill)]


def _padded_back(node: ir.Node, _output: int, array: Array) -> Array:
    inner = zip(_padding(node), known_sizes(node.inputs[0]), array.shape, strict=True)
    return array[tuple(slice(pad[0], pad[0] + size) if there > 1 else slice(None) for pad, size, there in inner)]


def _mean_axes(node: ir.Node) -> tuple[int, ...]:
    rank = len(known_sizes(node.inputs[0]))
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    axes = reduced_axes(node, rank)
    if axes is None:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return axes


def _keeps_axes(node: ir.Node) -> bool:
    return bool(node.attributes.get_int("keepdims", 1))


def _averaged(node: ir.Node, array: Array, fill: int) -> list[Array]:
    """Carry a factor through a mean if it is uniform along the averaged axes; a shift is averaged."""
    axes = _mean_axes(node)
    if fill == 1 and any(array.shape[axis] > 1 for axis in axes):
        raise NotFoldedError("the factor varies along the averaged axes")
    mean = array.mean(axis=axes, keepdims=True)
    return [mean if _keeps_axes(node) else mean.squeeze(axes)]


_RESHAPE = _Rule(
    lambda node, array, _: [_regrouped(array, known_sizes(node.inputs[0]), known_sizes(node.outputs[0]))],
    lambda node, _, array: _regrouped(array, known_sizes(node.outputs[0]), known_sizes(node.inputs[0])),
)
_MEAN = _Rule(
    _averaged,
    lambda node, _, array: array if _keeps_axes(node) else np.expand_dims(array, sorted(_mean_axes(node))),
)
_MOVES: Mapping[str, _Rule] = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _RESHAPE),
    **dict.fromkeys(("Gather", "Slice"), _Rule(_taken, _taken_back)),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), _MEAN),
    "Identity": _Rule(lambda _node, array, _: [array], lambda _node, _, array: array),
    "Pad": _Rule(_padded, _padded_back),
    "Split": _Rule(_split, _split_back),
    "Transpose": _Rule(
        lambda node, array, _: [array.transpose(order_of(node, array.ndim))],
        lambda node, _, array: array.transpose(np.argsort(order_of(node, array.ndim))),
    ),
}
"""Rules by operator."""
