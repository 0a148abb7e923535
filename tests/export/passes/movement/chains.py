"""Random chains of data-movement operators in three equivalent forms: index maps, arrays and graphs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from export.passes.movement.index_map import IndexMap

Array = np.ndarray[Any, Any]
SHAPES = st.lists(st.sampled_from([1, 2, 3, 4, 6, 8, 9, 12]), min_size=1, max_size=4).filter(lambda s: prod(s) <= 600)


@dataclass(frozen=True)
class Link:
    """One operator of a chain.

    Attributes:
        operator: name of the ONNX operator.
        constants: constant inputs beside the tensor.
        attributes: attributes of the node.
        array: the operator as a function of an array.
        map: the operator as a function of an index map.
        parts: for Concat: the operators whose results are joined.
    """

    operator: str
    array: Callable[[Array], Array]
    map: Callable[[IndexMap], IndexMap]
    constants: tuple[Array, ...] = ()
    attributes: dict[str, int | list[int]] = field(default_factory=dict)
    parts: tuple["Link", ...] = ()


@st.composite
def links(draw: st.DrawFn, shape: tuple[int, ...]) -> Link:
    """Draw an operator for a tensor of a shape."""
    kind = draw(st.sampled_from(["reshape", "transpose", "gather", "slice", "roll", "parts"]))
    axis = draw(st.integers(0, len(shape) - 1)) if shape else 0
    if kind == "reshape" or not shape:
        return _reshape(tuple(draw(st.permutations(draw(_factors(prod(shape)))))))
    if kind == "transpose":
        return _transpose(tuple(draw(st.permutations(range(len(shape))))))
    if kind == "gather":
        rank = draw(st.integers(0, 2))
        sizes = draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
        places = draw(st.lists(st.integers(0, shape[axis] - 1), min_size=prod(sizes), max_size=prod(sizes)))
        return _gather(axis, np.asarray(places, np.int64).reshape(sizes))
    start = draw(st.integers(0, shape[axis] - 1))
    if kind == "roll" and start:
        return _join(axis, (_slice(axis, start, shape[axis], 1), _slice(axis, 0, start, 1)))
    if kind == "parts" and shape[axis] % 2 == 0:
        behind = draw(st.integers(0, len(shape) - 1))
        return _join(behind, (_slice(axis, 0, shape[axis], 2), _slice(axis, 1, shape[axis], 2)))
    return _slice(axis, start, draw(st.integers(start + 1, shape[axis])), draw(st.integers(1, 3)))


@st.composite
def chains(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Link, ...]:
    """Draw a chain for a tensor of a shape."""
    drawn: list[Link] = []
    array = np.zeros(shape)
    for _ in range(draw(st.integers(1, 6))):
        link = draw(links(array.shape))
        array = link.array(array)
        if array.size > 5000:
            break
        drawn.append(link)
    return tuple(drawn)


@st.composite
def _factors(draw: st.DrawFn, count: int) -> list[int]:
    factors = []
    while count > 1 and draw(st.booleans()):
        factor = draw(st.sampled_from([n for n in range(2, count + 1) if count % n == 0]))
        factors.append(factor)
        count //= factor
    return [*factors, count]


def _reshape(shape: tuple[int, ...]) -> Link:
    return Link("Reshape", lambda a: a.reshape(shape), lambda m: m.reshape(shape), (np.asarray(shape, np.int64),))


def _transpose(order: tuple[int, ...]) -> Link:
    return Link("Transpose", lambda a: a.transpose(order), lambda m: m.transpose(order), (), {"perm": list(order)})


def _gather(axis: int, index: Array) -> Link:
    return Link("Gather", lambda a: a.take(index, axis), lambda m: m.take(axis, index), (index,), {"axis": axis})


def _slice(axis: int, start: int, stop: int, step: int) -> Link:
    places = range(start, stop, step)
    return Link(
        "Slice",
        lambda a: a.take(list(places), axis),
        lambda m: m.slice(axis, start, len(places), step),
        tuple(np.asarray([n], np.int64) for n in (start, stop, axis, step)),
    )


def _join(axis: int, parts: tuple[Link, ...]) -> Link:
    return Link(
        "Concat",
        lambda a: np.concatenate([part.array(a) for part in parts], axis),
        lambda m: IndexMap.concat([part.map(m) for part in parts], axis),
        attributes={"axis": axis},
        parts=parts,
    )


class GraphOfChains:
    """A graph whose input passes through chains, each followed by a Neg that is an output.

    Args:
        shape: shape of the input.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.image = ir.val("image", ir.DataType.FLOAT, shape)
        graph = ir.Graph([self.image], [], nodes=[], opset_imports={"": 20}, name="chains")
        self.model = ir.Model(graph, ir_version=10)
        start = self._node("Relu", [self.image], {}, shape)
        self.start = start

    def add(self, chain: tuple[Link, ...]) -> None:
        """Add a chain, with its negated result as an output."""
        value = self.start
        for link in chain:
            value = self._link(value, link)
        end = self._node("Neg", [value], {}, _sizes(value))
        self.model.graph.outputs.append(end)

    def _link(self, value: ir.Value, link: Link) -> ir.Value:
        made = link.array(np.zeros(_sizes(value))).shape
        inputs = [self._link(value, part) for part in link.parts] or [value]
        for number, constant in enumerate(link.constants):
            name = f"constant_{len(self.model.graph.initializers)}_{number}"
            tensor = ir.tensor(constant, name=name)
            given = ir.Value(name=name, shape=ir.Shape(constant.shape), type=ir.TensorType(tensor.dtype))
            given.const_value = tensor
            self.model.graph.register_initializer(given)
            inputs.append(given)
        return self._node(link.operator, inputs, link.attributes, made)

    def _node(self, operator: str, inputs: list[ir.Value], attributes: Any, shape: tuple[int, ...]) -> ir.Value:  # noqa: ANN401
        node = ir.node(operator, inputs, attributes)
        self.model.graph.append(node)
        node.outputs[0].shape, node.outputs[0].type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
        return node.outputs[0]


def _sizes(value: ir.Value) -> tuple[int, ...]:
    assert value.shape is not None
    return tuple(value.shape.numpy())


def offsets_in(one: IndexMap) -> Array:
    """Return the offset of every element of a map, in the tensor's shape."""
    whole = IndexMap([one.digits], one.sizes, one.strides, one.tables).along(0)
    assert whole is not None, "all digits are in one axis"
    found: Array = (whole + one.base).reshape(one.shape)
    return found
