"""Factors and shifts carried through random chains of data movement, compared with a NumPy run of the chains."""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.passes.carry import Affine, carry_back, carry_forward, carry_through_concat, moves
from export.passes.exact import NotFoldedError
from tests.export.passes.graphs import Array, graph_of, ints


class Chain(NamedTuple):
    """Consecutive operators, the constants that they read, and the shape of the result."""

    lines: tuple[str, ...]
    constants: dict[str, Array]
    sizes: tuple[int, ...]


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], Chain]:
    """Draw a shape and a chain for a tensor of that shape."""
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    chain = Chain((), {}, sizes)
    for index in range(draw(st.integers(1, 4))):
        chain = _lengthened(chain, index, draw)
    return sizes, chain


def _lengthened(chain: Chain, index: int, draw: st.DrawFn) -> Chain:
    kind = draw(st.sampled_from(("Transpose", "Reshape", "Slice", "Gather", "Unsqueeze", "Pad", "ReduceMean", "Split")))
    lines, constants, sizes = chain
    rank, source, result = len(sizes), f"v{index}", f"v{index + 1}"
    axis = draw(st.integers(0, rank - 1)) if rank else 0
    if kind == "Transpose" and rank:
        order = draw(st.permutations(range(rank)))
        return Chain(
            (*lines, f"{result} = Transpose<perm={list(order)}>({source})"), constants, tuple(sizes[a] for a in order)
        )
    if kind == "Reshape":
        wanted = draw(st.sampled_from(_factorisations(int(np.prod(sizes)))))
        return Chain(
            (*lines, f"{result} = Reshape({source}, c{index})"), constants | {f"c{index}": ints(*wanted)}, wanted
        )
    if kind == "Slice" and rank:
        start = draw(st.integers(0, sizes[axis] - 1))
        stop, step = draw(st.integers(start + 1, sizes[axis])), draw(st.integers(1, 2))
        numbers = {f"c{index}{part}": ints(n) for part, n in zip("seax", (start, stop, axis, step), strict=True)}
        length = len(range(start, stop, step))
        line = f"{result} = Slice({source}, {', '.join(numbers)})"
        return Chain((*lines, line), constants | numbers, (*sizes[:axis], length, *sizes[axis + 1 :]))
    if kind == "Gather" and rank:
        places = draw(st.sampled_from((0, 1, 2)))
        indices = np.array(draw(st.permutations(range(sizes[axis]))), dtype=np.int64)
        indices = (
            indices[0] if places == 0 else indices[: max(1, sizes[axis] - 1)].reshape((-1,) if places == 1 else (1, -1))
        )
        line = f"{result} = Gather<axis={axis}>({source}, c{index})"
        made = (*sizes[:axis], *indices.shape, *sizes[axis + 1 :])
        return Chain((*lines, line), constants | {f"c{index}": np.asarray(indices)}, made)
    if kind == "Pad" and rank:
        pads = [0] * (2 * rank)
        pads[axis], pads[rank + axis] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        made = (*sizes[:axis], sizes[axis] + pads[axis] + pads[rank + axis], *sizes[axis + 1 :])
        return Chain((*lines, f"{result} = Pad({source}, c{index})"), constants | {f"c{index}": ints(*pads)}, made)
    if kind == "ReduceMean" and rank:
        keep = draw(st.integers(0, 1))
        line = f"{result} = ReduceMean<keepdims={keep}>({source}, c{index})"
        made = (*sizes[:axis], *(1,) * keep, *sizes[axis + 1 :])
        return Chain((*lines, line), constants | {f"c{index}": ints(axis)}, made)
    if kind == "Split" and rank and sizes[axis] > 1:
        parts = (1, sizes[axis] - 1)
        line = f"other{index}, {result} = Split<axis={axis}>({source}, c{index})"
        made = (*sizes[:axis], parts[1], *sizes[axis + 1 :])
        return Chain((*lines, line), constants | {f"c{index}": ints(*parts)}, made)
    line = f"{result} = Unsqueeze({source}, c{index})"
    return Chain((*lines, line), constants | {f"c{index}": ints(axis)}, (*sizes[:axis], 1, *sizes[axis:]))


def _factorisations(number: int) -> list[tuple[int, ...]]:
    pairs = [(part, number // part) for part in range(1, number + 1) if number % part == 0]
    return [(number,), *pairs, *((a, b, c // b) for a, c in pairs for b in range(1, c + 1) if c % b == 0)]


def _nodes(sizes: tuple[int, ...], chain: Chain) -> list[ir.Node]:
    given, made = ",".join(map(str, sizes)), ",".join(map(str, chain.sizes))
    text = f"(float[{given}] v0) => (float[{made}] v{len(chain.lines)}) {{ {chr(10).join(chain.lines)} }}"
    return list(graph_of(text, **chain.constants).graph)


def _moved(nodes: list[ir.Node], array: Array) -> Array:
    """Run a chain with numpy, in float64."""
    for node in nodes:
        numbers = [value.const_value.numpy() for value in node.inputs[1:] if value is not None and value.const_value]
        axis = node.attributes.get_int("axis", 0)
        if node.op_type == "Transpose":
            array = array.transpose(node.attributes.get_ints("perm"))
        elif node.op_type == "Reshape":
            array = array.reshape(numbers[0])
        elif node.op_type == "Unsqueeze":
            array = np.expand_dims(array, tuple(numbers[0]))
        elif node.op_type == "Gather":
            array = array.take(numbers[0], axis=axis)
        elif node.op_type == "Split":
            array = np.split(array, [numbers[0][0]], axis=axis)[1]
        elif node.op_type == "ReduceMean":
            array = array.mean(tuple(numbers[0]), keepdims=bool(node.attributes.get_int("keepdims")))
        elif node.op_type == "Pad":
            array = np.pad(array, numbers[0].reshape(2, -1).T)
        else:
            start, stop, axis, step = (int(number.item()) for number in numbers)
            array = array[(slice(None),) * axis + (slice(start, stop, step),)]
    return array


def _averages_different_factors(node: ir.Node, factor: Array) -> bool:
    axes = node.inputs[1].const_value if node.op_type == "ReduceMean" and node.inputs[1] else None
    return axes is not None and factor.shape[axes.numpy().item()] > 1


def _broadcastable(draw: st.DataObject, sizes: tuple[int, ...], random: np.random.Generator) -> Array:
    shape = [draw.draw(st.sampled_from((1, size))) for size in sizes]
    return random.normal(size=shape)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(chains(), st.data())
def test_an_affine_map_carried_forward_through_a_chain_gives_the_same_result(
    drawn: tuple[tuple[int, ...], Chain], data: st.DataObject
) -> None:
    sizes, chain = drawn
    nodes, random = _nodes(sizes, chain), np.random.default_rng(0)
    affine = Affine(_broadcastable(data, sizes, random), _broadcastable(data, sizes, random))
    x = random.normal(size=sizes)
    expected = _moved(nodes, x * affine.factor + affine.shift)
    for node in nodes:
        assert moves(node)
        if _averages_different_factors(node, affine.factor):
            with pytest.raises(NotFoldedError, match="averaged axes"):
                carry_forward(node, affine)
            return
        affine = carry_forward(node, affine)[-1]
    np.testing.assert_allclose(_moved(nodes, x) * affine.factor + affine.shift, expected, rtol=1e-12, atol=1e-12)
    assert all(result in (1, size) for part in affine for result, size in zip(part.shape, chain.sizes, strict=True))


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(chains(), st.data())
def test_a_factor_carried_back_through_a_chain_gives_the_same_result(
    drawn: tuple[tuple[int, ...], Chain], data: st.DataObject
) -> None:
    sizes, chain = drawn
    nodes, random = _nodes(sizes, chain), np.random.default_rng(0)
    factor = _broadcastable(data, chain.sizes, random)
    x = random.normal(size=sizes)
    expected = _moved(nodes, x) * factor
    for node in reversed(nodes):
        factor = carry_back(node, len(node.outputs) - 1, factor)
    np.testing.assert_allclose(_moved(nodes, x * factor), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("operator", "axes"), [("GlobalAveragePool", (2, 3)), ("Identity", ())])
def test_a_factor_is_carried_through_pooling_and_copies(operator: str, axes: tuple[int, ...]) -> None:
    sizes = [1 if axis in axes else size for axis, size in enumerate((2, 3, 4, 5))]
    text = f"(float[2,3,4,5] image) => (float[{','.join(map(str, sizes))}] y) {{ y = {operator}(image) }}"
    (node,) = graph_of(text).graph
    random = np.random.default_rng(0)
    x, factor, shift = random.normal(size=(2, 3, 4, 5)), random.normal(size=(1, 3, 1, 1)), random.normal(size=(3, 4, 5))
    (carried,) = carry_forward(node, Affine(factor, shift[None]))
    expected = (x * factor + shift).mean(axes, keepdims=True)
    np.testing.assert_allclose(x.mean(axes, keepdims=True) * carried.factor + carried.shift, expected, rtol=1e-12)
    back = carry_back(node, 0, factor)
    np.testing.assert_allclose((x * back).mean(axes, keepdims=True), x.mean(axes, keepdims=True) * factor, rtol=1e-12)


def test_the_comparisons_above_are_able_to_fail() -> None:
    nodes = _nodes((2, 3), Chain(("v1 = Transpose<perm=[1, 0]>(v0)",), {}, (3, 2)))
    factor = np.arange(1.0, 4.0)[None]
    (carried,) = carry_forward(nodes[0], Affine(factor, np.zeros((1, 1))))
    assert carried.factor.shape == (3, 1)
    x = np.ones((2, 3))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(_moved(nodes, x) * factor[:, :1], _moved(nodes, x * factor))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concatenated_factors_are_those_of_the_parts(axis: int) -> None:
    shapes = [[2, 3, 4], [2, 3, 4]]
    shapes[1][axis] += 1
    made = [*shapes[0][:axis], shapes[0][axis] + shapes[1][axis], *shapes[0][axis + 1 :]]
    text = f"(float{shapes[0]} a, float{shapes[1]} b) => (float{made} y) {{ y = Concat<axis={axis}>(a, b) }}"
    (node,) = graph_of(text).graph
    random = np.random.default_rng(axis)
    parts = [
        Affine(random.normal(size=(1, 1, 4 + (axis == 2 and i))), random.normal(size=(2 + (axis == 0 and i), 1, 1)))
        for i in (0, 1)
    ]
    x = [random.normal(size=shape) for shape in shapes]
    expected = np.concatenate([a * part.factor + part.shift for a, part in zip(x, parts, strict=True)], axis=axis)
    joined = carry_through_concat(node, parts)
    np.testing.assert_allclose(np.concatenate(x, axis=axis) * joined.factor + joined.shift, expected, rtol=1e-12)


def test_a_uniform_factor_stays_one_number_for_tensors_of_any_size() -> None:
    nodes = _nodes((4, 4, 4), Chain(("v1 = Reshape(v0, c)",), {"c": ints(2, 32)}, (2, 32)))
    (carried,) = carry_forward(nodes[0], Affine(np.full((1, 1, 1), 2.0), np.zeros((1, 1, 1))))
    assert carried.factor.shape == carried.shift.shape == (1, 1)


DECLINED = {
    "edge padding": ('(float[2,3] image) => (float[2,5] y) { y = Pad<mode="edge">(image, c) }', ints(0, 1, 0, 1)),
    "a negative pad": ("(float[2,3] image) => (float[2,1] y) { y = Pad(image, c) }", ints(0, -1, 0, -1)),
    "a slice of several axes": ("(float[2,3] image) => (float[1,2] y) { y = Slice(image, c, d) }", ints(0, 0)),
}


@pytest.mark.parametrize("case", DECLINED)
def test_carrying_forward_is_declined_for(case: str) -> None:
    text, constant = DECLINED[case]
    constants = {"c": constant} | ({"d": ints(1, 2)} if "d)" in text else {})
    (node,) = graph_of(text, **constants).graph
    with pytest.raises(NotFoldedError):
        carry_forward(node, Affine(np.ones((1, 3)) * np.arange(3.0), np.ones((1, 1))))


def test_a_factor_is_not_carried_back_through_a_repeated_index() -> None:
    (node,) = graph_of("(float[2,3] image) => (float[2,3] y) { y = Gather<axis=1>(image, c) }", c=ints(0, 0, 1)).graph
    with pytest.raises(NotFoldedError, match="repeated indices"):
        carry_back(node, 0, np.arange(3.0)[None])
