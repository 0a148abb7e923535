"""Restrictions of operators that a graph can be checked against, in the support table's notation.

A new kind of restriction is a class here and an entry in `Rule`. A rule yields violations; unknown facts of a model (a
rank or type) are reported as unknown, never assumed to be right.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict, Field

from export.passes.origins import Origin

_TYPES = {
    ir.DataType.FLOAT: "FP32",
    ir.DataType.FLOAT16: "FP16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.FLOAT4E2M1: "FP4",
}


def type_name(dtype: ir.DataType) -> str:
    """Return a type's name in the support table (FP32, INT64), or ONNX's name for other types."""
    return _TYPES.get(dtype, dtype.name)


def dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the type of a value's elements, or None if unknown."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


class TracedNode(NamedTuple):
    """Node, with the origins of its values."""

    node: ir.Node
    origins: Mapping[ir.Value, Origin]


class Broken(NamedTuple):
    """Violated restriction; `certain` is False if the model is not specific enough to decide."""

    found: str
    certain: bool = True


class _Rule(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield the violations of a node."""


class AttributeIn(_Rule):
    """An attribute, where given, has one of some values; if it is a list, each of its elements."""

    rule: Literal["attribute-in"]
    attribute: str
    allowed: tuple[int | str, ...]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield the value, if it is another."""
        given = place.node.attributes.get(self.attribute)
        if given is None:
            return
        if given.is_ref():
            yield Broken(f"{self.attribute} is an argument of the function, its value is not known here", certain=False)
            return
        values = given.value if isinstance(given.value, (list, tuple)) else [given.value]
        if not set(values) <= set(self.allowed):
            yield Broken(f"{self.attribute} is {given.value}, supported: {', '.join(map(str, self.allowed))}")


class AttributeAbsent(_Rule):
    """An attribute is not given."""

    rule: Literal["attribute-absent"]
    attribute: str

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield the attribute, if it is given."""
        if self.attribute in place.node.attributes:
            yield Broken(f"attribute {self.attribute} is not supported")


class _OfInputs(_Rule):
    inputs: tuple[int, ...]

    def given(self, node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
        """Yield those of the inputs that the node has, with their place."""
        for index in self.inputs:
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None:
                yield index, value


class InputAbsent(_OfInputs):
    """Optional inputs are not given."""

    rule: Literal["input-absent"]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each input that is given."""
        for index, value in self.given(place.node):
            yield Broken(f"input {index} ({value.name}) is not supported")


class InputConstant(_OfInputs):
    """Inputs, where given, are constant."""

    rule: Literal["input-constant"]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each input that is computed while the graph runs."""
        for index, value in self.given(place.node):
            if place.origins.get(value, Origin.DATA) is not Origin.CONSTANT:
                yield Broken(f"input {index} ({value.name}) is not constant")


class InputZero(_OfInputs):
    """Inputs, where given, are constant and zero: zero points, a training mode that is off."""

    rule: Literal["input-zero"]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each input that is something else, or may be."""
        for index, value in self.given(place.node):
            tensor = ir.convenience.get_const_tensor(value)
            if tensor is not None:
                if tensor.numpy().any():
                    yield Broken(f"input {index} ({value.name}) is not zero")
            elif place.origins.get(value) is Origin.CONSTANT:
                yield Broken(f"input {index} ({value.name}) must be zero and is still to be computed", certain=False)
            else:
                yield Broken(f"input {index} ({value.name}) is not constant, and must be zero")


class InputRank(_OfInputs):
    """Inputs, where given, have one of some numbers of dimensions."""

    rule: Literal["input-rank"]
    ranks: tuple[int, ...]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each input of another rank, or of one that is not known."""
        wanted = " or ".join(map(str, self.ranks))
        for index, value in self.given(place.node):
            if value.shape is None:
                yield Broken(
                    f"input {index} ({value.name}) must have {wanted} dimensions, not known here", certain=False
                )
            elif len(value.shape) not in self.ranks:
                yield Broken(f"input {index} ({value.name}) has {len(value.shape)} dimensions, supported: {wanted}")


class InputType(_OfInputs):
    """Inputs, where given, are of one of some types."""

    rule: Literal["input-type"]
    types: tuple[str, ...]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each input of another type, or of one that is not known."""
        for index, value in self.given(place.node):
            yield from _type_broken(f"input {index}", value, self.types)


class OutputAbsent(_Rule):
    """Optional outputs are not read; a node may name one."""

    rule: Literal["output-absent"]
    outputs: tuple[int, ...]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each output that a node reads, or the graph yields."""
        for index in self.outputs:
            output = place.node.outputs[index] if index < len(place.node.outputs) else None
            if output is not None and (output.uses() or output.is_graph_output()):
                yield Broken(f"output {index} ({output.name}) is not supported")


class OutputType(_Rule):
    """Outputs are of one of some types."""

    rule: Literal["output-type"]
    outputs: tuple[int, ...]
    types: tuple[str, ...]

    def check(self, place: TracedNode) -> Iterator[Broken]:
        """Yield each output of another type, or of one that is not known."""
        for index in self.outputs:
            if index < len(place.node.outputs):
                yield from _type_broken(f"output {index}", place.node.outputs[index], self.types)


def _type_broken(which: str, value: ir.Value, types: tuple[str, ...]) -> Iterator[Broken]:
    dtype = dtype_of(value)
    if dtype is None:
        yield Broken(f"{which} ({value.name}) must be {' or '.join(types)}, its type is not known here", certain=False)
    elif type_name(dtype) not in types:
        yield Broken(f"{which} ({value.name}) is {type_name(dtype)}, supported: {', '.join(types)}")


Rule = Annotated[
    AttributeIn
    | AttributeAbsent
    | InputAbsent
    | InputConstant
    | InputZero
    | InputRank
    | InputType
    | OutputAbsent
    | OutputType,
    Field(discriminator="rule"),
]
