"""Restrictions of operators in the support table's notation, and their checks.

To add a kind of restriction, add a class here and an entry in `Rule`. A rule yields violations; unknown ranks and types
are reported as unknown.
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
    """Return the name of a dtype in the support table (FP32, INT64), or ONNX's name for other dtypes."""
    return _TYPES.get(dtype, dtype.name)


def dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the dtype of a value; None if unknown."""
    if value.dtype is None and value.const_value is not None:
        return value.const_value.dtype
    return value.dtype


class TracedNode(NamedTuple):
    """Node, and the origins of all values."""

    node: ir.Node
    origins: Mapping[ir.Value, Origin]


class Violation(NamedTuple):
    """Violated restriction; `certain` is False if the model does not contain the facts to decide."""

    found: str
    certain: bool = True


class _Rule(BaseModel, ABC):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield the violations of a node."""


class AttributeIn(_Rule):
    """An attribute, or each element of a list, must have one of the allowed values if it is present."""

    rule: Literal["attribute-in"]
    attribute: str
    allowed: tuple[int | str, ...]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation if the attribute has another value."""
        given = traced.node.attributes.get(self.attribute)
        if given is None:
            return
        if given.is_ref():
            yield Violation(f"{self.attribute} is an argument of the function; its value is unknown", certain=False)
            return
        values = given.value if isinstance(given.value, (list, tuple)) else [given.value]
        if not set(values) <= set(self.allowed):
            yield Violation(f"{self.attribute} is {given.value}, supported: {', '.join(map(str, self.allowed))}")


class AttributeAbsent(_Rule):
    """An attribute must be absent."""

    rule: Literal["attribute-absent"]
    attribute: str

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation if the attribute is present."""
        if self.attribute in traced.node.attributes:
            yield Violation(f"attribute {self.attribute} is not supported")


class _OfInputs(_Rule):
    inputs: tuple[int, ...]

    def given(self, node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
        """Yield the position and value of each of the inputs that the node has."""
        for index in self.inputs:
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None:
                yield index, value


class InputAbsent(_OfInputs):
    """Optional inputs must be absent."""

    rule: Literal["input-absent"]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each input that is present."""
        for index, value in self.given(traced.node):
            yield Violation(f"input {index} ({value.name}) is not supported")


class InputConstant(_OfInputs):
    """Inputs must be constant if they are present."""

    rule: Literal["input-constant"]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each input that is not constant."""
        for index, value in self.given(traced.node):
            if traced.origins.get(value, Origin.DATA) is not Origin.CONSTANT:
                yield Violation(f"input {index} ({value.name}) is not constant")


class InputZero(_OfInputs):
    """Inputs must be constant and zero if they are present: zero points, training mode."""

    rule: Literal["input-zero"]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each input that is not, or may not be, zero."""
        for index, value in self.given(traced.node):
            tensor = ir.convenience.get_const_tensor(value)
            if tensor is not None:
                if tensor.numpy().any():
                    yield Violation(f"input {index} ({value.name}) is not zero")
            elif traced.origins.get(value) is Origin.CONSTANT:
                yield Violation(f"input {index} ({value.name}) must be zero; its value is unknown", certain=False)
            else:
                yield Violation(f"input {index} ({value.name}) must be constant and zero")


class InputRank(_OfInputs):
    """Inputs must have one of the allowed ranks if they are present."""

    rule: Literal["input-rank"]
    ranks: tuple[int, ...]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each input of another or unknown rank."""
        wanted = " or ".join(map(str, self.ranks))
        for index, value in self.given(traced.node):
            if value.shape is None:
                yield Violation(
                    f"input {index} ({value.name}) must have {wanted} dimensions; its rank is unknown", certain=False
                )
            elif len(value.shape) not in self.ranks:
                yield Violation(f"input {index} ({value.name}) has {len(value.shape)} dimensions, supported: {wanted}")


class InputType(_OfInputs):
    """Inputs must have one of the allowed types if they are present."""

    rule: Literal["input-type"]
    types: tuple[str, ...]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each input of another or unknown type."""
        for index, value in self.given(traced.node):
            yield from _type_violations(f"input {index}", value, self.types)


class OutputAbsent(_Rule):
    """Optional outputs must not be read."""

    rule: Literal["output-absent"]
    outputs: tuple[int, ...]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each output that is read or is a graph output."""
        for index in self.outputs:
            output = traced.node.outputs[index] if index < len(traced.node.outputs) else None
            if output is not None and (output.uses() or output.is_graph_output()):
                yield Violation(f"output {index} ({output.name}) is not supported")


class OutputType(_Rule):
    """Outputs must have one of the allowed types."""

    rule: Literal["output-type"]
    outputs: tuple[int, ...]
    types: tuple[str, ...]

    def check(self, traced: TracedNode) -> Iterator[Violation]:
        """Yield a violation for each output of another or unknown type."""
        for index in self.outputs:
            if index < len(traced.node.outputs):
                yield from _type_violations(f"output {index}", traced.node.outputs[index], self.types)


def _type_violations(which: str, value: ir.Value, types: tuple[str, ...]) -> Iterator[Violation]:
    dtype = dtype_of(value)
    if dtype is None:
        yield Violation(f"{which} ({value.name}) must be {' or '.join(types)}; its type is unknown", certain=False)
    elif type_name(dtype) not in types:
        yield Violation(f"{which} ({value.name}) is {type_name(dtype)}, supported: {', '.join(types)}")


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
